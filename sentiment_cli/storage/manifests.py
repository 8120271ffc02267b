"""JSON and manifests: what is written with an artefact, and compared when it is read."""

import hashlib
import json
from pathlib import Path
from typing import Any

from sentiment_cli.errors import DataError

MANIFEST = "manifest.json"


class IntegrityError(DataError):
    """An artefact on disk is not what its manifest says."""


def dump_json(value: Any) -> bytes:
    """Encode `value` the one way we write JSON: UTF-8, indented, no NaN."""
    return (json.dumps(value, ensure_ascii=False, indent=2, allow_nan=False) + "\n").encode()


def parse_manifest(data: bytes, path: Path) -> dict[str, Any]:
    """Return what `read_manifest` does, from the bytes of the manifest at `path`."""
    manifest = parse_json(data, path)
    files = manifest.get("files") if isinstance(manifest, dict) else None
    # Bytes are compared, so that no two of them mean the same and no flipped bit goes unseen.
    if not isinstance(files, dict) or data != dump_manifest(files):
        raise IntegrityError(f"{path} is damaged, or not a manifest")
    return files


def dump_manifest(files: dict[str, Any]) -> bytes:
    """Encode a manifest of the size and sha256 of each file, with a hash of its own."""
    try:
        return dump_json({"files": files, "sha256": hashlib.sha256(dump_json(files)).hexdigest()})
    except ValueError as error:
        raise IntegrityError(f"what a manifest cannot hold: {error}") from error


def parse_json(data: bytes, path: Path) -> Any:
    """Return what `read_json` does, from the bytes at `path`."""
    try:
        return json.loads(data, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise IntegrityError(f"{path} cannot be read: {error}") from error


def _no_number(name: str) -> None:
    raise ValueError(f"{name} is no number of JSON")
