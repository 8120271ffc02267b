"""The rows of one of the user's tables, as reviews."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from sentiment_cli.config.schema import Data
from sentiment_cli.data.files.file_kinds import show_command
from sentiment_cli.data.sources.label_lists import find_labels
from sentiment_cli.data.sources.labels import find_label, halves_of, map_setting
from sentiment_cli.data.sources.path_kinds import columns_of, format_of
from sentiment_cli.data.sources.review import Review
from sentiment_cli.data.tables.arrow_files import SCHEMA_KINDS, class_names, count_class_rows
from sentiment_cli.data.tables.column_roles import by_name
from sentiment_cli.data.tables.readers import (
    Columns,
    LabelledRow,
    Rejects,
    column_names,
    find_columns,
    has_names,
    read_table,
    table_kind,
    why_no_text,
)
from sentiment_cli.errors import Change, DataError, SentimentError


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


def read_split_rows(
    files: Sequence[Path],
    split: str,
    data: Data,
    rejects: Rejects,
    renamed: Mapping[str, str],
    say: Callable[[str], object],
) -> Iterator[tuple[str, str | None, Review]]:
    """Yield the rows of a split's files, one after the other and numbered through, by the columns of the first file.

    In files whose schemas name the classes, rows without a class are unlabelled ones.
    """
    has_labels, n_before = split != "unsup", 0
    columns, how = columns_of(data), format_of(data)
    if len(files) > 1:
        names = column_names(files[0], how, columns)
        columns = find_columns(files[0], names, columns, how, needs_label=has_labels, say=None)
        found = {"text_column": columns.text, "label_column": columns.label, "group_column": columns.group}
        data = data.model_copy(update=found)
        say(f"data: {split}: {len(files):,} files, read by the columns of the first")
    for path in files:
        of_file, number = data, 0
        if labels_by_schema(path, data) is not None:
            of_file = data.model_copy(update={"without_label": "unlabelled"})
        for found_in, named, review in read_table_rows(path, split, of_file, rejects, renamed, say):
            number = int(review.id)
            yield found_in, named, review._replace(id=str(n_before + number))
        n_before, say = n_before + number, _say_warnings(say) if path is files[0] else say


def columns_found(first: Path, data: Data) -> Columns:
    """Return the columns that the table of the training rows is read by.

    They are none where it does not name its columns, so that other tables need not have them at the same places, and
    where it cannot be read.
    """
    asked, how = columns_of(data), format_of(data)
    try:
        if not has_names(first, how):
            return Columns()
        return find_columns(first, column_names(first, how, asked), asked, how, needs_label=True, say=None)
    except SentimentError:  # reading the training rows says it
        return Columns()


def with_columns_of(found: Columns, path: Path, data: Data, *, needs_label: bool) -> Data:
    """Return the settings with which a table of another split is read by the columns `found` for training.

    A column of the same name is the one, whatever other columns hold. Raises DataError for a table without the column
    of the labels: any column of few values would be taken for it.
    """
    asked, how = columns_of(data), format_of(data)
    here = column_names(path, how, asked)
    texts = Columns(found.text).named()
    known = {} if asked.text is not None or not texts or set(texts) - set(here) else {"text_column": found.text}
    if needs_label and found.label is not None and asked.label is None:
        if lacks_labels(found, path, data):
            raise DataError(
                f"{path} has no column {found.label!r}, which the training rows have the labels in; it has "
                f"{', '.join(map(repr, here[:20]))}",
                Change("--set", "data.test=null") if str(path) == data.test else show_command(path),
            )
        if found.label in here:
            known["label_column"] = found.label
    return data.model_copy(update=known)


def lacks_labels(found: Columns, path: Path, data: Data) -> bool:
    """Say whether a table that names its columns has no labels: neither the training column nor one named so."""
    asked, how = columns_of(data), format_of(data)
    if found.label is None or asked.label is not None or not has_names(path, how):
        return False
    here = column_names(path, how, asked)
    return found.label not in here and by_name(path, here, "label", None) is None


def labels_by_schema(path: Path, data: Data) -> tuple[int, int] | None:
    """Return how many rows of a file have a label and how many have none, where its schema names the classes."""
    how, columns = format_of(data), columns_of(data)
    kind = table_kind(path)
    if kind not in SCHEMA_KINDS:
        return None
    names = column_names(path, how, columns)
    try:
        column = find_columns(path, names, columns, how, needs_label=True, say=None).label
    except DataError:  # of unlabelled rows, whose files need no such column
        return None
    return None if column is None or class_names(path, kind, column) is None else count_class_rows(path, kind, column)


def _say_warnings(say: Callable[[str], object]) -> Callable[[str], object]:
    return lambda said: say(said) if said.startswith("warning: ") else None


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
