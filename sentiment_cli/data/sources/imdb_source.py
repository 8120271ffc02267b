"""A source in the layout of the IMDb corpus: an archive, a folder, or the generated sample."""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sentiment_cli import console
from sentiment_cli.config.schema import Data
from sentiment_cli.data.sources import folders, imdb, sample
from sentiment_cli.data.sources.digests import FilesDigest
from sentiment_cli.data.sources.download import SHA256, archive_path
from sentiment_cli.data.sources.review import Review, Subset
from sentiment_cli.data.tables.readers import Rejects, table_kind
from sentiment_cli.errors import DataError
from sentiment_cli.storage import store


@dataclass(frozen=True)
class ImdbSource:
    """Reviews in IMDb's layout at `path`; without a path, the generated sample. See `source.Source`."""

    name: str
    path: Path | None
    settings: Data
    is_table = False
    has_stars = True
    has_valid = False

    @property
    def has_unlabelled(self) -> bool:
        return self.path is None or not self.path.is_dir() or has_unlabelled_folder(self.path)

    def settings_read(self) -> dict[str, Any]:
        return {}

    def rows(
        self,
        part: Subset,
        rejects: Rejects,
        read: FilesDigest | None = None,
        left_out: Counter[str] | None = None,
        say: Callable[[str], object] = console.say,
    ) -> Iterator[tuple[str, Review]]:
        """Yield rows ordered by split, label and number, so that an archive and its folder give the same rows."""
        if part == "unlabelled" and not self.has_unlabelled:
            raise DataError(f"{self.path} has no unlabelled reviews", "sentiment data info")
        if self.path is None:
            yield from (row for row in sample.generate_reviews() if (row[0] == "unsup") == (part == "unlabelled"))
        else:
            yield from imdb.read_reviews(self.path, part, (read or FilesDigest()).add)

    def digest(self, part: Subset, read: FilesDigest | None = None) -> str:
        if self.path is None:
            return hashlib.sha256(sample.FINGERPRINT.encode()).hexdigest()
        try:
            if not self.path.is_dir():
                kind, sha256 = table_kind(self.path) or "", store.sha256_of(self.path)
                return hashlib.sha256(f"{kind} {sha256}".encode()).hexdigest()
            if read is None:
                read = FilesDigest()
                for name, data in imdb.read_bytes(self.path, part):
                    read.add(name, data)
        except OSError as error:
            raise DataError(f"{self.path} cannot be read: {error.strerror}") from error
        return hashlib.sha256(read.digest()).hexdigest()


def has_unlabelled_folder(path: Path) -> bool:
    """Say whether a folder of texts holds texts without labels, at its top or in train/."""
    root = imdb.root_of(path)
    return any((root / above / name).is_dir() for above in ("", "train") for name in folders.NO_CLASS)


def say_other_archive(path: Path | None, found: str, n_rows: int) -> None:
    """Report that IMDb is read from other bytes than the published ones, given the digest of the labelled part.

    A warning for the downloaded archive; a copy that the user names may be compressed in another way.
    """
    if path is None:
        return
    if path.is_dir():
        console.say(f"data: {path} is a folder, which no published hash is compared with; {n_rows:,} rows")
    elif found != hashlib.sha256(f" {SHA256}".encode()).hexdigest():
        what = f"{path} is not the published archive, whose sha256 begins with {SHA256[:12]}; {n_rows:,} rows"
        if path == archive_path():
            console.warn(what)
        else:
            console.say(f"data: {what}")
