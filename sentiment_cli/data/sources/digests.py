"""A hash of files: their names and their bytes, in the order in which they are added."""

import hashlib


class FilesDigest:
    """The SHA-256 of files."""

    def __init__(self) -> None:
        self._sha256 = hashlib.sha256()

    def add(self, name: str, data: bytes) -> None:
        self._sha256.update(f"{name} {len(data)}\n".encode("utf-8", "surrogateescape"))
        self._sha256.update(data)

    def digest(self) -> bytes:
        return self._sha256.digest()
