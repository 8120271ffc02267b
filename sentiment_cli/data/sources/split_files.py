"""A folder with tables for each split, as hubs hold data sets: single files, numbered shards, or what `datasets` saves.

    train.csv  test.csv  validation.csv                   one file a split, compressed or not
    train-00000-of-00002.parquet  …                       shards, in the order of their numbers
    train/0000.parquet  test/0000.parquet                 a folder of tables a split
    dataset_dict.json  train/state.json  train/*.arrow    a DatasetDict of save_to_disk; or one Dataset, of train rows

Any of them may lie one folder further down (data/, plain_text/).
"""

import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sentiment_cli.data.files.file_kinds import table_suffix
from sentiment_cli.data.sources.folders import NO_CLASS, VALID
from sentiment_cli.errors import Change, DataError

SplitFiles = dict[str, tuple[Path, ...]]

_SPLIT_OF = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(VALID, "valid"),
    "test": "test",
    **dict.fromkeys((*NO_CLASS, "unsupervised"), "unsup"),
}
# The hash at the end was written by earlier versions of `datasets`.
_NAME = re.compile(r"(?P<split>[a-z]+)(?:-(?P<shard>\d{5})-of-(?P<n>\d{5})(?:-[0-9a-f]{16})?)?")
_ABOUT = ("dataset_dict.json", "dataset_info.json", "dataset_infos.json", "state.json")  # tell of tables
_LARGEST_JSON = 1 << 24


def find_split_files(folder: Path, key: str = "data.source") -> SplitFiles | None:
    """Return the files of each split (train, valid, test, unsup) in their order; None for a folder of another kind.

    Raises DataError where shards are missing, where several files could be the split, and for several such folders.
    """
    try:
        below = [child for child in sorted(folder.iterdir()) if child.is_dir() and child.name[0] != "."]
        for find in (_saved, _named, _in_folders):
            if found := find(folder):
                return found
        inside = [(child, found) for child in below for find in (_saved, _named, _in_folders) if (found := find(child))]
    except OSError as error:
        raise DataError(f"{folder} cannot be read: {error.strerror}") from error
    if len(inside) > 1:
        names = ", ".join(f"{child.name}/" for child, _ in inside)
        raise DataError(
            f"{key} is {folder}, which holds several data sets: {names}", Change("--set", f"{key}={inside[0][0]}")
        )
    return inside[0][1] if inside else None


def tables_beside(splits: SplitFiles) -> list[str]:
    """Return the names of the tables that lie beside those of the splits."""
    read = {path for files in splits.values() for path in files}
    folders = sorted({path.parent for path in read})
    return [
        path.name
        for folder in folders
        for path in _files_in(folder)
        if path not in read and table_suffix(path.name) and path.name not in _ABOUT
    ]


def _named(folder: Path) -> SplitFiles:
    """Return the tables whose names say their split."""
    shards: dict[str, dict[Path, tuple[str, int, int]]] = {}
    for path in _files_in(folder):
        suffix = table_suffix(path.name)
        match = _NAME.fullmatch(path.name.lower().partition(".")[0]) if suffix else None
        if match and (split := _SPLIT_OF.get(match["split"])):
            ending = f"{match['split']}{path.name.lower()[path.name.find('.') :]}"
            shards.setdefault(split, {})[path] = (ending, int(match["shard"] or 0), int(match["n"] or 1))
    return {
        split: _in_order(folder, split, shards[split]) for split in dict.fromkeys(_SPLIT_OF.values()) if split in shards
    }


def _in_order(folder: Path, split: str, shards: dict[Path, tuple[str, int, int]]) -> tuple[Path, ...]:
    kinds = {(ending, n) for ending, _, n in shards.values()}
    if len(kinds) > 1:
        names = ", ".join(sorted(path.name for path in shards))
        first = min(shards)
        raise DataError(
            f"{folder} holds several files that could be the {split} rows: {names}",
            Change("--set", f"data.source={first}"),
        )
    ((_, n),) = kinds
    by_number = {number: path for path, (_, number, _) in shards.items()}
    if missing := sorted(set(range(n)) - by_number.keys()):
        listed = ", ".join(f"{number:05}" for number in missing[:5]) + (", …" if len(missing) > 5 else "")
        raise DataError(
            f"{folder}: the {split} rows are {n:,} files, of which {len(missing):,} are missing: {listed}",
            shlex.join(["ls", "-l", str(folder)]),
        )
    if len(by_number) < len(shards) or max(by_number) >= n:
        names = ", ".join(sorted(path.name for path in shards))
        raise DataError(
            f"{folder}: the numbers of the {split} files do not fit: {names}", shlex.join(["ls", "-l", str(folder)])
        )
    return tuple(by_number[number] for number in range(n))


def _in_folders(folder: Path) -> SplitFiles:
    """Return the tables of folders that are named by their split and hold nothing but tables."""
    found: SplitFiles = {}
    for child in sorted(folder.iterdir()):
        split = _SPLIT_OF.get(child.name.lower()) if child.is_dir() else None
        if split is None:
            continue
        files = _files_in(child)
        if (
            not files
            or any(one.is_dir() for one in child.iterdir())
            or not all(table_suffix(one.name) for one in files)
        ):
            continue
        if split in found:
            raise DataError(
                f"{folder} holds several folders of {split} rows: {found[split][0].parent.name}/ and {child.name}/",
                shlex.join(["ls", "-l", str(folder)]),
            )
        found[split] = tuple(files)
    return found


def _saved(folder: Path) -> SplitFiles:
    """Return the Arrow files of what save_to_disk wrote."""
    if (folder / "dataset_dict.json").is_file():
        names = _read(folder / "dataset_dict.json", lambda about: about["splits"])
        found: SplitFiles = {}
        for name in names:
            _check_name(folder / "dataset_dict.json", name)
            split = _SPLIT_OF.get(name.lower())
            if split is None or split in found:
                raise DataError(
                    f"{folder}/dataset_dict.json names the split {name!r}; known are {', '.join(_SPLIT_OF)}, each once",
                    Change("--set", f"data.source={folder / name}"),
                )
            found[split] = _arrow_files(folder / name)
        return found
    is_saved = (folder / "state.json").is_file() and (folder / "dataset_info.json").is_file()
    return {"train": _arrow_files(folder)} if is_saved else {}


def _arrow_files(folder: Path) -> tuple[Path, ...]:
    """Return the files that state.json names. Raises DataError for a selection of rows, which is not applied."""
    place = folder / "state.json"
    names = _read(place, lambda about: [one["filename"] for one in about["_data_files"]])
    chosen = _read(place, lambda about: about.get("_indices_data_files") or about.get("_indices_files"))
    if chosen:
        raise DataError(f"{place} selects rows by a file of numbers; save the data set again with flatten_indices()")
    for name in names:
        _check_name(place, name)
    if missing := [name for name in names if not (folder / name).is_file()]:
        raise DataError(f"{place} names {missing[0]}, which is not there", shlex.join(["ls", "-l", str(folder)]))
    return tuple(folder / name for name in names)


def _read(path: Path, choose: Callable[[Any], Any]) -> Any:
    try:
        with path.open("rb") as handle:
            return choose(json.loads(handle.read(_LARGEST_JSON)))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DataError(f"{path} is not what save_to_disk writes: {error!r:.200}") from error


def _check_name(place: Path, name: Any) -> None:
    """Raise DataError for what is no name in the same folder: nothing that is read chooses a path."""
    if type(name) is not str or name in ("", ".", "..") or "\0" in name or Path(name).name != name:
        raise DataError(f"{place} names {name!r:.80}, which is no name in its folder")


def _files_in(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.iterdir()) if path.name[0] != "." and path.is_file()]
