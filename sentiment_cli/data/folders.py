"""A folder of texts per class, with or without train/ and test/ above the classes."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

from sentiment_cli.data.imdb import root_of
from sentiment_cli.data.review import Part
from sentiment_cli.errors import Change, DataError

# Folders that hold texts of no class.
NO_CLASS = ("unsup", "unlabelled", "unlabeled")
# Folders of validation texts beside train/.
VALID = ("valid", "validation", "val", "dev")


def find_valid(root: Path) -> str | None:
    """Return the name of the folder of validation texts that lies beside train/. Raises DataError for several."""
    root = root_of(root)
    found = [name for name in VALID if (root / name).is_dir()] if (root / "train").is_dir() else []
    if len(found) > 1:
        raise DataError(
            f"{root} holds {' and '.join(f'{name}/' for name in found)}; validation texts come from one folder",
            Change("--set", f"data.valid.source={root / found[0]}"),
        )
    return found[0] if found else None


def read_texts(
    root: Path, part: Part, *, is_given_apart: bool, valid: str | None = None
) -> Iterator[tuple[str | None, str, str, bytes]]:
    """Yield (split, class, name, bytes) of ROOT/CLASS/NAME.txt or ROOT/{train,valid,test}/CLASS/NAME.txt, by name.

    `valid` names the folder of validation texts. Unlabelled texts have no class: those in unsup/ and, in a folder given
    apart, those that lie in ROOT itself.
    """
    root = root_of(root)
    splits: tuple[tuple[str | None, str], ...] = ((None, "."),)
    if (root / "train").is_dir():
        splits = (("train", "train"), *([("valid", valid)] if valid is not None else []), ("test", "test"))
    has_any = False
    for split, place in splits:
        folder = root / place
        names = _names_in(folder, os.DirEntry.is_dir) if folder.is_dir() else []
        names = [name for name in names if name[0] != "." and (name in NO_CLASS) == (part == "unlabelled")]
        if part == "unlabelled" and is_given_apart:
            names.append("")
        for name in names:
            for file in _names_in(folder / name, lambda entry: entry.name.endswith(".txt") and entry.is_file()):
                has_any = True
                yield split, name, file.removesuffix(".txt"), _bytes_of(folder / name / file)
    if not has_any:
        wanted = "CLASS/NAME.txt or train/CLASS/NAME.txt" if part == "labelled" else "unsup/NAME.txt"
        raise DataError(f"{root} holds no {part} texts: {wanted} is looked for")


def _names_in(folder: Path, is_wanted: Callable[[os.DirEntry[str]], bool]) -> list[str]:
    try:
        with os.scandir(folder) as entries:
            return sorted(entry.name for entry in entries if is_wanted(entry))
    except OSError as error:
        raise DataError(f"{folder} cannot be read: {error.strerror}") from error


def _bytes_of(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise DataError(f"{file} cannot be read: {error.strerror}") from error
