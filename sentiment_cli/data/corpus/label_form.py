"""Whether the rows of a table have several labels each, judged by the first of them."""

import itertools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from sentiment_cli.config.schema import CORPORA, Data
from sentiment_cli.data.sources.label_lists import find_separator, read_list
from sentiment_cli.data.sources.path_kinds import columns_of, format_of, kind_of_path
from sentiment_cli.data.tables.readers import Rejects, read_table

_ROWS_READ = 2_000


class LabelForm(NamedTuple):
    """Settings that read the labels as they are, and what was found: as a sentence, and as a part of one."""

    settings: dict[str, str]
    said: str
    found: str
    n_several: int

    def overrides(self) -> list[str]:
        """Return the settings as --set takes them."""
        return [f"{key}={json.dumps(value, ensure_ascii=False)}" for key, value in self.settings.items()]


def implied_target(overrides: Sequence[str]) -> list[str]:
    """Return the setting of the target where another setting, which only this target has, is given without it."""
    if any(one.startswith("data.target=") for one in overrides):
        return []
    is_implied = any(one.startswith(("data.label_separator=", "data.without_label=none")) for one in overrides)
    return ["data.target=multilabel"] if is_implied else []


def find_label_form(data: Data, *, is_told: bool = False) -> LabelForm | None:
    """Return how the labels of a table are read where its rows have several; None where they have one.

    Rows have several labels where one is a list of two or more, or where splitting at one character leaves fewer
    distinct labels than there were; no more, where it `is_told` that there are several (`label_lists.find_separator`).
    """
    path = Path(data.source)
    if data.source in CORPORA or kind_of_path(path, "data.source", data) != "table":
        return None
    rows = read_table(
        path, columns_of(data), Rejects("skip"), has_labels=True, is_told=False, how=format_of(data), say=lambda _: None
    )
    found = [row.label for row in itertools.islice(rows, _ROWS_READ) if row.label is not None]
    several = [listed for label in found if (listed := _listed(label)) is not None and len(listed) > 1]
    if several:
        return _form({"data.target": "multilabel"}, len(several), len(found), several[0])
    texts = [label.strip() for label in found if isinstance(label, str)]
    separator = find_separator(texts, is_told=is_told)
    if separator is None:
        return None
    parts = [split for text in texts if len(split := [part.strip() for part in text.split(separator)]) > 1]
    settings = {"data.target": "multilabel", "data.label_separator": separator}
    return _form(settings, len(parts), len(texts), parts[0])


def _form(settings: dict[str, str], n_several: int, n: int, example: Sequence[Any]) -> LabelForm:
    set_by = ", ".join(f"{key} {value}" for key, value in settings.items())
    found = (
        f"{n_several:,} of {n:,} rows have several labels, such as "
        f"{' and '.join(repr(str(one)) for one in example[:3])}"
    )
    said = f"chosen: {set_by}: {found}; --set data.target=label learns each combination as one"
    return LabelForm(settings, said, found, n_several)


def _listed(label: Any) -> Sequence[Any] | None:
    listed = read_list(label) if isinstance(label, str) else label
    return listed if isinstance(listed, (list, tuple)) else None
