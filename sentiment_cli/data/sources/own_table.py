"""The rows of one of the user's tables, as reviews."""

import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from sentiment_cli.config.schema import Data
from sentiment_cli.data.sources.label_lists import find_labels
from sentiment_cli.data.sources.labels import find_label, halves_of, map_setting
from sentiment_cli.data.sources.path_kinds import columns_of, format_of
from sentiment_cli.data.sources.review import Review
from sentiment_cli.data.tables.readers import LabelledRow, Rejects, read_table, why_no_text
from sentiment_cli.errors import Change, DataError


def read_table_rows(
    path: Path,
    split: str,
    data: Data,
    rejects: Rejects,
    renamed: Mapping[str, str],
    say: Callable[[str], object],
) -> Iterator[tuple[str, str | None, Review]]:
    """Yield (split, label in the file, review) for the rows of a table that belong to the part of `split`."""
    wants_unlabelled = split == "unsup"
    sorts_out = data.without_label == "unlabelled" and split in ("train", "unsup")  # others must have a label
    has_labels = sorts_out or not wants_unlabelled
    for row in read_table(path, columns_of(data), rejects, has_labels=has_labels, how=format_of(data), say=say):
        if (reason := why_no_text(row.text)) is not None:
            rejects.reject(path, row.number, row.line, reason)
            continue
        try:
            named, label = _labels_of(row, data, renamed) if has_labels else (None, None)
        except ValueError as error:
            if data.on_error == "stop":
                _refuse_label(path, row, str(error), data, renamed)
            rejects.reject(path, row.number, row.line, str(error))
            continue
        if data.without_label == "none" and label is None and has_labels:
            named = label = "[]"
        if sorts_out:
            if (label is None) != wants_unlabelled:
                continue
        elif has_labels and label is None:
            _reject_missing(path, row, data, rejects)
            continue
        is_alone = row.group in (None, "") or row.group != row.group  # NaN
        yield split, named, Review(str(row.number), row.text, label, None, None if is_alone else str(row.group))


def _labels_of(row: LabelledRow, data: Data, renamed: Mapping[str, str]) -> tuple[str | None, str | None]:
    if data.target == "multilabel":
        return find_labels(row.label, renamed, data.label_separator)
    return find_label(row.label, renamed)


def _reject_missing(path: Path, row: LabelledRow, data: Data, rejects: Rejects) -> None:
    reason = "its label is missing"
    if data.target == "multilabel" and data.on_error == "stop":
        place = f"row {row.number}" if row.line is None else f"row {row.number} (line {row.line})"
        raise DataError(
            f"{path}, {place}: {reason}; [] says that no label applies to a row",
            Change("--set", "data.without_label=none"),
        )
    rejects.reject(path, row.number, row.line, reason)


def _refuse_label(path: Path, row: LabelledRow, reason: str, data: Data, renamed: Mapping[str, str]) -> None:
    """Raise DataError for a label that is not a class, with a label map for the column where one can be given."""
    read = read_table(
        path, columns_of(data), Rejects("skip"), has_labels=True, how=format_of(data), say=lambda text: None
    )
    place = f"row {row.number}" if row.line is None else f"row {row.number} (line {row.line})"
    if isinstance(row.label, (list, tuple)) and data.target != "multilabel":
        raise DataError(
            f"{path}, {place}: its labels are {len(row.label)}, {row.label!r:.80}, and data.target {data.target} "
            "learns one label a row",
            Change("--set", "data.target=multilabel"),
        )
    values = {str(other.label).strip(): None for other in read}
    try:
        halves = halves_of([value for value in values if math.isfinite(float(value))], renamed)
    except ValueError:
        halves = None
    if halves is not None:
        raise DataError(
            f"{path}, {place}: {reason}. The labels are numbers: say which class each one is", map_setting(halves)
        )
