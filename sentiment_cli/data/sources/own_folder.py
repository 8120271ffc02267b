"""The texts of one of the user's folders, with a folder or a file per class, as reviews."""

from collections.abc import Callable, Iterator
from pathlib import Path

from sentiment_cli.config.schema import Data
from sentiment_cli.data.files.encodings import decode
from sentiment_cli.data.sources import folders, imdb
from sentiment_cli.data.sources.class_lines import lines_of_classes
from sentiment_cli.data.sources.digests import FilesDigest
from sentiment_cli.data.sources.review import Review, Subset
from sentiment_cli.storage import store

_MOST_SHOWN = 5


def read_folder_rows(
    root: Path, split: str, data: Data, valid_folder: str | None, say: Callable[[str], object]
) -> Iterator[tuple[str, Review]]:
    """Yield a folder's texts: without its test/ where data.test is given, and of that one's train/ and test/ test/."""
    part: Subset = "unlabelled" if split == "unsup" else "labelled"
    if part == "labelled" and (files := folders.class_files(root)):
        yield from lines_of_classes(root, files, split, data.encoding, say)
        return
    valid = folders.find_valid(root) if split == "valid" else valid_folder if split == "train" else None
    n_western = n_texts = 0
    is_given_apart = data.unlabelled is not None
    for found, name, file, content in folders.read_texts(root, part, is_given_apart=is_given_apart, valid=valid):
        found = "unsup" if split == "unsup" else found or split
        is_own = split == "train" and (found == "valid" or (found == "test" and data.test is None))
        if found == split or is_own:
            label = None if split == "unsup" else name
            text, is_western = decode(content, data.encoding)
            n_western, n_texts = n_western + is_western, n_texts + 1
            yield found, Review(f"{name}/{file}", text, label, None, None)
    if n_western:
        say(f"data: {root.name}: {n_western:,} of {n_texts:,} texts are read as Windows-1252 (latin-1)")
    if others := folders.unread_in_classes(root):
        shown = ", ".join(others[:_MOST_SHOWN]) + (", …" if len(others) > _MOST_SHOWN else "")
        say(f"data: {root.name}: {len(others):,} files and folders beside the .txt files are not read: {shown}")
    if n_hidden := folders.count_hidden(root):
        say(f"data: {root.name}: {n_hidden:,} files whose names begin with a dot are passed over")


def hash_folder(path: Path, part: Subset, *, is_given_apart: bool, has_class_files: bool) -> bytes:
    """Hash the names and bytes of the files that a part is read from."""
    digest = FilesDigest()
    classes = folders.class_files(path) if has_class_files and part == "labelled" else {}
    files: Iterator[tuple[str, bytes]]
    if classes:
        files = ((file.name, store.sha256_of(file).encode()) for file in classes.values())
    else:
        valid = folders.find_valid(path) if part == "labelled" else None
        texts = folders.read_texts(path, part, is_given_apart=is_given_apart, valid=valid)
        files = ((f"{split}/{name}/{file}", data) for split, name, file, data in texts)
    for name, data in files:
        digest.add(name, data)
    return digest.digest()


def unread_folders(path: Path, valid_folder: str | None, *, has_test: bool) -> list[str]:
    """Return the folders beside train/ that nothing is read from; `has_test` where test rows come from elsewhere."""
    root = imdb.root_of(path)
    if not (root / "train").is_dir():
        return []
    read = {"train", valid_folder, *folders.NO_CLASS, *(() if has_test else ("test",))}
    found = [child.name for child in sorted(root.iterdir()) if child.is_dir() and child.name[0] != "."]
    return [name for name in found if name not in read]
