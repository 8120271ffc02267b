"""Files of the aclImdb layout, read out of a tar archive (gzip, xz or plain) or a folder; nothing is extracted.

Names are matched against one strict pattern and choose nothing but the place a review has in the corpus.
"""

import re
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

from sentiment_cli.errors import DataError

# train/pos/123_10.txt, train/urls_pos.txt
MEMBER = re.compile(
    r"(?P<split>train|test)/(?:(?P<label>pos|neg|unsup)/(?P<number>\d{1,6})_(?P<stars>\d{1,2})"
    r"|urls_(?P<urls>pos|neg|unsup))\.txt"
)
_ROOT = re.compile(r"(?:\./)?aclImdb/")

Member = re.Match[str]


def read_members(path: Path, is_wanted: Callable[[Member], bool]) -> Iterator[tuple[Member, bytes]]:
    """Yield each wanted file's matched name and its bytes, in the order they come.

    Raises DataError where `path` is missing, unreadable, cut off or no archive.
    """
    if path.is_dir():
        yield from _folder_members(path, is_wanted)
        return
    try:
        with tarfile.open(path, "r|*") as archive:
            for info in archive:
                root = _ROOT.match(info.name)
                member = MEMBER.fullmatch(info.name, root.end()) if root else None
                if member and info.isreg() and is_wanted(member):
                    handle = archive.extractfile(info)
                    assert handle is not None
                    yield member, handle.read()
    except FileNotFoundError:
        raise DataError(f"{path} does not exist", "export SENTIMENT_IMDB=PATH_TO/aclImdb_v1.tar.gz") from None
    except (OSError, tarfile.TarError, EOFError, ValueError) as error:
        # lzma.LZMAError and zlib.error reach us wrapped in tarfile.ReadError, or as OSError and EOFError
        raise DataError(
            f"{path} is not a readable tar archive: {error}", "export SENTIMENT_IMDB=PATH_TO/aclImdb_v1.tar.gz"
        ) from error


def _folder_members(path: Path, is_wanted: Callable[[Member], bool]) -> Iterator[tuple[Member, bytes]]:
    root = path / "aclImdb" if (path / "aclImdb").is_dir() else path
    for file in sorted(root.glob("t*/**/*.txt")):
        member = MEMBER.fullmatch(file.relative_to(root).as_posix())
        if member and is_wanted(member):
            try:
                yield member, file.read_bytes()
            except OSError as error:
                raise DataError(f"{file} cannot be read: {error.strerror}") from error
