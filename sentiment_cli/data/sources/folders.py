"""A folder of texts per class, with or without train/ and test/ above the classes, or of a file of lines per class."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

from sentiment_cli.data.files.file_kinds import COMPRESSED, show_command, table_suffix
from sentiment_cli.data.sources.imdb import root_of
from sentiment_cli.data.sources.review import Subset
from sentiment_cli.errors import Change, DataError

# Folders that hold texts of no class.
NO_CLASS = ("unsup", "unlabelled", "unlabeled")
# Folders of validation texts beside train/.
VALID = ("valid", "validation", "val", "dev")
_NO_CLASS_FILE = frozenset((*NO_CLASS, "train", "test", "valid", "val", "dev", "yaml", "yml", "md", "log", "py"))
_MOST_CLASS_FILES = 20  # more are texts by themselves


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
    root: Path, part: Subset, *, is_given_apart: bool, valid: str | None = None
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
            for file in _names_in(folder / name, _is_text):
                has_any = True
                yield split, name, file.removesuffix(".txt"), _bytes_of(folder / name / file)
    if not has_any:
        wanted = "CLASS/NAME.txt or train/CLASS/NAME.txt" if part == "labelled" else "unsup/NAME.txt"
        raise DataError(f"{root} holds no {part} texts: they are expected at {wanted}", show_command(root))


def class_files(root: Path) -> dict[str, Path]:
    """Return the file of each class, where a folder has such: NAME.CLASS of one name, or CLASS.txt, a text a line.

    Files called README and those that begin with a dot are none; with folders or anything else beside them there are
    no such files.
    """
    root = root_of(root)
    if _names_in(root, lambda entry: entry.is_dir() and entry.name[0] != "."):
        return {}
    names = [
        name
        for name in _names_in(root, os.DirEntry.is_file)
        if name[0] != "." and "readme" not in name.lower() and "license" not in name.lower()
    ]
    parts = [name.rpartition(".") for name in names]
    if not 2 <= len(names) <= _MOST_CLASS_FILES or any(table_suffix(name) for name in names):
        return {}
    endings = {ending.lower() for _, _, ending in parts}
    if endings == {"txt"}:
        classes = [stem for stem, _, _ in parts]
    elif len({stem for stem, _, _ in parts}) == 1 and parts[0][0] and len(endings) == len(names):
        classes = [ending for _, _, ending in parts]
    else:
        return {}
    if {name.lower() for name in classes} & _NO_CLASS_FILE or any(f".{name}" in COMPRESSED for name in classes):
        return {}
    files = {name: root / file for name, file in zip(classes, names, strict=True)}
    return files if all(map(_has_lines, files.values())) and not all(map(str.isdigit, files)) else {}


def _has_lines(path: Path) -> bool:
    """Say whether a file has a second line, as one of many texts does."""
    try:
        with path.open("rb") as handle:
            return handle.read(1 << 16).strip().count(b"\n") > 0
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from error


def count_hidden(root: Path) -> int:
    """Return how many texts have a name that begins with a dot, as macOS and editors leave them; none is read."""
    root = root_of(root)
    folders = [root, root / "train", root / "test"]
    classes = [folder / name for folder in folders if folder.is_dir() for name in _names_in(folder, os.DirEntry.is_dir)]
    return sum(
        len(_names_in(folder, lambda entry: entry.name[0] == "." and entry.name.endswith(".txt") and entry.is_file()))
        for folder in dict.fromkeys([*folders, *classes])
        if folder.is_dir() and not folder.name.startswith(".")
    )


def _is_text(entry: os.DirEntry[str]) -> bool:
    return entry.name[0] != "." and entry.name.lower().endswith(".txt") and entry.is_file()


def unread_in_classes(root: Path) -> list[str]:
    """Return what lies in the folders of classes and is no text: files of other names, and folders."""
    root = root_of(root)
    is_split = (root / "train").is_dir()
    places = [root / name for name in ("train", *VALID, "test")] if is_split else [root]
    classes = [
        folder / name
        for folder in places
        if folder.is_dir()
        for name in _names_in(folder, lambda entry: entry.name[0] != "." and entry.is_dir())
    ]
    return [
        f"{folder.relative_to(root)}/{name}"
        for folder in classes
        for name in _names_in(folder, lambda entry: entry.name[0] != "." and not _is_text(entry))
    ]


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
