"""Where reviews come from: the IMDb corpus or the bundled sample, one `Review` at a time."""

import hashlib
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from sentiment_cli import store
from sentiment_cli.config.paths import local_imdb, sample_dir
from sentiment_cli.config.schema import Data
from sentiment_cli.data import sample
from sentiment_cli.data.archive import Member, read_members
from sentiment_cli.data.download import archive_path, download_imdb
from sentiment_cli.data.review import Review
from sentiment_cli.errors import DataError

LABELS = ("neg", "pos")
_MOVIE = re.compile(r"/title/(tt\d+)")


@dataclass(frozen=True)
class Source:
    """A corpus and what identifies its bytes; `path` is None for the generated sample."""

    name: str
    path: Path | None
    sha256: str


def find_source(data: Data) -> Source:
    """Find (or download) what `data.source` names and hash it."""
    if data.source == "sample":
        path = sample_dir() if sample_dir().is_dir() else None
        return Source("sample", path, _hash_folder(path) if path else sample.FINGERPRINT)
    path = local_imdb()
    if path is None:
        path = archive_path()
        if not store.is_there(path):
            download_imdb(path)
    elif not path.exists():
        raise DataError(
            f"SENTIMENT_IMDB names {path}, which does not exist", "export SENTIMENT_IMDB=PATH_TO/aclImdb_v1.tar.gz"
        )
    try:
        return Source("imdb", path, _hash_folder(path) if path.is_dir() else store.sha256_of(path))
    except OSError as error:
        raise DataError(
            f"{path} cannot be read: {error.strerror}", "export SENTIMENT_IMDB=PATH_TO/aclImdb_v1.tar.gz"
        ) from error


def read_reviews(source: Source, splits: Collection[str]) -> Iterator[tuple[str, Review]]:
    """Yield (split, review) for train, test or unsup rows, ordered by split, label and number.

    The order does not depend on that of the archive, so an archive and its extracted folder give the same rows.
    Raises DataError where something of the layout is missing.
    """
    if source.path is None:
        yield from (row for row in sample.generate() if row[0] in splits)
        return
    texts: dict[tuple[str, str], list[tuple[int, int, bytes]]] = {}
    movies: dict[tuple[str, str], list[str | None]] = {}
    for member, data in read_members(source.path, lambda member: _split_of(member) in splits):
        if member["urls"]:
            lines = data.decode("ascii", "replace").splitlines()  # line N is the review with number N
            movies[member["split"], member["urls"]] = [m[1] if (m := _MOVIE.search(line)) else None for line in lines]
        else:
            row = (int(member["number"]), int(member["stars"]), data)
            texts.setdefault((member["split"], member["label"]), []).append(row)
    expected = [("train", "unsup")] if "unsup" in splits else []
    expected += [(split, label) for split in ("train", "test") if split in splits for label in LABELS]
    for split, label in expected:
        if (split, label) not in texts or (split, label) not in movies:
            raise DataError(
                f"{source.path} is not the IMDb corpus: it lacks aclImdb/{split}/{label}/NUMBER_STARS.txt "
                f"or aclImdb/{split}/urls_{label}.txt",
                "export SENTIMENT_IMDB=PATH_TO/aclImdb_v1.tar.gz",
            )
    for (split, label), rows in sorted(texts.items()):
        names = movies[split, label]
        for number, stars, data in sorted(rows):
            group = names[number] if number < len(names) else None
            text = data.decode("utf-8", errors="replace")
            if label == "unsup":
                yield "unsup", Review(f"unsup/{number}", text, None, None, group)
            else:
                yield split, Review(f"{label}/{number}_{stars}", text, label, stars, group)


def _split_of(member: Member) -> str:
    return "unsup" if "unsup" in (member["label"], member["urls"]) else member["split"]


def _hash_folder(path: Path) -> str:
    digest = hashlib.sha256()
    for member, data in read_members(path, lambda member: True):
        digest.update(f"{member[0]} {len(data)}\n".encode())
        digest.update(data)
    return digest.hexdigest()
