"""The published IMDb archive, fetched once and checked against its sha256."""

import contextlib
import hashlib
import http.client
import urllib.error
import urllib.request
from collections.abc import Generator
from pathlib import Path

from sentiment_cli import console, store
from sentiment_cli.errors import DataError, MachineError

URL = "https://ai.stanford.edu/~amaas/data/sentiment/aclImdb_v1.tar.gz"
SIZE = 84_125_825
# From public checksum lists (TensorFlow Datasets among them).
SHA256 = "c40f74a18d3b61f90feba1e17730e0d38e8b97c05fde7008942e91923d1658fe"
CITATION = """\
The reviews are the Large Movie Review Dataset v1.0. If you publish results on it, its authors ask you to cite:
  Andrew L. Maas, Raymond E. Daly, Peter T. Pham, Dan Huang, Andrew Y. Ng, and Christopher Potts (2011).
  Learning Word Vectors for Sentiment Analysis. Proceedings of the 49th Annual Meeting of the Association for
  Computational Linguistics: Human Language Technologies, pages 142-150."""
_CHUNK = 1 << 18
_TIMEOUT_S = 30


def download_imdb(target: Path) -> Path:
    """Fetch the archive to `target`, which appears only when size and sha256 are right.

    Raises MachineError without a connection and DataError for other bytes than the published ones.
    """
    console.say(f"downloading {URL} ({SIZE / 1e6:.0f} MB) to {target}")
    console.say(CITATION)
    digest, size = hashlib.sha256(), 0
    by_hand = f"download {URL} elsewhere, then: export SENTIMENT_IMDB=PATH_TO_IT"
    with (
        console.progress("download", SIZE) as shown,
        store.replacing(target) as handle,
        contextlib.closing(_chunks(by_hand)) as chunks,
    ):
        for chunk in chunks:
            size += len(chunk)
            digest.update(chunk)
            handle.write(chunk)
            shown.update(size)
            if size > SIZE:
                break
        if size < SIZE:
            raise MachineError(f"{URL} stopped after {size:,} of {SIZE:,} bytes; nothing was kept", by_hand)
        if size > SIZE or digest.hexdigest() != SHA256:
            raise DataError(f"{URL} sent other bytes than the published ones; nothing was kept", by_hand)
    return target


def _chunks(by_hand: str) -> Generator[bytes, None, None]:
    """Yield what the server sends; its failures, and not those of the disk, become MachineError."""
    try:
        with urllib.request.urlopen(URL, timeout=_TIMEOUT_S) as response:
            while chunk := response.read(_CHUNK):
                yield chunk
    except (OSError, http.client.HTTPException) as error:
        if isinstance(error, urllib.error.HTTPError):
            error.close()  # it is the server's answer too
        raise MachineError(f"{URL} cannot be downloaded: {error}", by_hand) from error
