"""Reviews in the layout of the IMDb corpus: labels and stars in the file names, movies in lists beside them."""

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

from sentiment_cli.config.paths import how_to_get_imdb, is_file
from sentiment_cli.data.sources.archive import Member, read_members
from sentiment_cli.data.sources.review import Review, Subset
from sentiment_cli.errors import DataError

LABELS = ("neg", "pos")
_MOVIE = re.compile(r"/title/(tt\d+)")


def is_folder_of(path: Path) -> bool:
    """Say whether a folder has this layout, at its top or in aclImdb/."""
    return all(is_file(root_of(path) / "train" / f"urls_{label}.txt") for label in LABELS)


def read_reviews(path: Path, part: Subset, seen: Callable[[str, bytes], None]) -> Iterator[tuple[str, Review]]:
    """Yield (split, review) of an archive or a folder in IMDb's layout, ordered by split, label and number.

    `seen` is called with the name and bytes of each file as it is read; the order of the rows does not depend on that.
    Raises DataError where a part of the layout is missing.
    """
    splits = ("train", "test") if part == "labelled" else ("unsup",)
    texts: dict[tuple[str, str], list[tuple[int, int, bytes]]] = {}
    movies: dict[tuple[str, str], list[str | None]] = {}
    for member, data in read_members(path, lambda member: _split_of(member) in splits):
        seen(member[0], data)
        if member["urls"]:
            lines = data.decode("ascii", "replace").splitlines()  # line N is the review with number N
            movies[member["split"], member["urls"]] = [m[1] if (m := _MOVIE.search(line)) else None for line in lines]
        else:
            row = (int(member["number"]), int(member["stars"]), data)
            texts.setdefault((member["split"], member["label"]), []).append(row)
    expected = [("train", "unsup")] if part == "unlabelled" else [(s, label) for s in splits for label in LABELS]
    for split, label in expected:
        if (split, label) not in texts or (split, label) not in movies:
            raise DataError(
                f"{path} is not the IMDb corpus: it lacks aclImdb/{split}/{label}/NUMBER_STARS.txt "
                f"or aclImdb/{split}/urls_{label}.txt",
                how_to_get_imdb(path),
            )
    for split, label in sorted(texts):
        names = movies[split, label]
        for number, stars, data in sorted(texts.pop((split, label))):
            group = names[number] if number < len(names) else None
            text = data.decode("utf-8", errors="replace")
            if label == "unsup":
                yield "unsup", Review(f"unsup/{number}", text, None, None, group)
            else:
                yield split, Review(f"{label}/{number}_{stars}", text, label, stars, group)


def _split_of(member: Member) -> str:
    return "unsup" if "unsup" in (member["label"], member["urls"]) else member["split"]


def read_bytes(path: Path, part: Subset) -> Iterator[tuple[str, bytes]]:
    """Yield (name, bytes) of the files of a part, in the order they come."""
    for member, data in read_members(path, lambda member: (_split_of(member) == "unsup") == (part == "unlabelled")):
        yield member[0], data


def root_of(path: Path) -> Path:
    """Return the folder that holds train/ and test/."""
    return path / "aclImdb" if os.path.isdir(path / "aclImdb") else path  # noqa: PTH112 - Path's raises where it may not look
