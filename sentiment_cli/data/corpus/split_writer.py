"""One split's texts, and the rows that are left out, while a source is read."""

import hashlib
import json
from collections import Counter
from contextlib import ExitStack
from typing import Any

from sentiment_cli.data.corpus.column_files import ColumnWriter
from sentiment_cli.data.sources.review import Review
from sentiment_cli.storage import store

ROWS_AT_ONCE = 1024
COLUMNS = {"end_N": "int64", "label_N": "int32", "stars_N": "int8", "group_N": "int32", "digest_N": "uint64"}


class RejectsWriter:
    """Writes the list of rejected rows, a file of the draft that is created for the first row."""

    def __init__(self, draft: store.Draft, stack: ExitStack) -> None:
        self._draft, self._stack = draft, stack
        self._output: store.Output | None = None
        self.n = 0

    def keep(self, place: dict[str, Any], content: Any) -> None:
        if self._output is None:
            self._output = self._stack.enter_context(self._draft.create("rejects.jsonl"))
        self._output.write(f"{json.dumps(place)}\n".encode())  # ASCII, which any file name can be written in
        self.n += 1


class SplitWriter:
    """Writes one split while it is read, with its metadata a block of rows at a time."""

    def __init__(self, text: store.Output, columns: ColumnWriter) -> None:
        self._text, self._columns = text, columns
        self._end = 0
        self.n_rows = 0
        self._rows: list[tuple[int, int, int, int, int]] = []
        self._ids: list[bytes] = []
        self.labels: Counter[str] = Counter()

    def add(self, review: Review, label: int, group: int) -> None:
        data = review.text.encode()
        self._text.write(data)
        self._end += len(data)
        folded = " ".join(review.text.split()).encode()
        digest = int.from_bytes(hashlib.blake2b(folded, digest_size=8).digest(), "little")
        self._rows.append((self._end, label, review.stars or 0, group, digest))
        self._ids.append(review.id.encode("utf-8", "surrogateescape").replace(b"\0", b""))
        self.n_rows += 1
        if len(self._rows) == ROWS_AT_ONCE:
            self.flush()

    def flush(self) -> None:
        if self._rows:
            self._columns.write(**dict(zip(COLUMNS, zip(*self._rows, strict=True), strict=True)))
            self._columns.write_ids(self._ids)
            self._rows.clear()
            self._ids.clear()
