"""Compare two packed models: whether they answer alike, and which settings of their experiments differ.

    python benchmarks/same_model.py NEW.model OLD.model

Graph, tokenizer, vocabulary and calibration must be the same bytes. model.json may differ in settings that the older
model does not name, because its version did not have them; each is printed. Exits with 1 for any other difference.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sentiment_cli.runs.model_files import open_model_files

_SETTINGS = "model.json"


def main() -> None:
    new, old = (open_model_files(Path(path)) for path in sys.argv[1:])
    names = new.entries.keys() | old.entries.keys()
    differing = [name for name in sorted(names) if new.entries.get(name) != old.entries.get(name)]
    if other := [name for name in differing if name != _SETTINGS]:
        sys.exit(f"{sys.argv[1]} is another model than {sys.argv[2]}: {', '.join(other)}")
    found, known = (dict(_flat(json.loads(one.read(_SETTINGS)))) for one in (new, old))
    if changed := [key for key in known if found.get(key) != known[key]]:
        sys.exit(f"{sys.argv[1]} was trained otherwise than {sys.argv[2]}: {', '.join(changed)}")
    added = [f"{key} {found[key]!r}" for key in found if key not in known]
    print(f"{sys.argv[2]}: the same model" + (f"; settings that are new since: {', '.join(added)}" if added else ""))


def _flat(values: dict[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{above}{key}.")
        else:
            yield f"{above}{key}", value


if __name__ == "__main__":
    main()
