"""Pages and model cards that carry a hash of themselves, so that one that somebody changed is never overwritten."""

import hashlib
import re
from pathlib import Path
from typing import Literal

from sentiment_cli.storage import store

_FORMS = {
    "html": "<!-- written by sentiment, sha256 {} -->\n",
    "markdown": "\n[//]: # (written by sentiment, sha256 {})\n",
}
_SEAL = re.compile(rb"(?:<!-- |\n\[//\]: # \()written by sentiment, sha256 ([0-9a-f]{64})(?: -->|\))\n\Z")
_LONGEST = 128


def seal(sha256: str, form: Literal["html", "markdown"]) -> bytes:
    """Return the comment that ends a file of this hash, which neither form of text shows."""
    return _FORMS[form].format(sha256).encode()


def sealed(data: bytes, form: Literal["html", "markdown"]) -> bytes:
    """Return a whole file with its seal."""
    return data + seal(hashlib.sha256(data).hexdigest(), form)


def is_sealed(path: Path) -> bool:
    """Say whether a file is as this program wrote it."""
    with store.open_named(path) as handle:
        data = handle.read()
    match = _SEAL.search(data, max(0, len(data) - _LONGEST))
    return match is not None and hashlib.sha256(data[: match.start()]).hexdigest() == match[1].decode()
