"""The columns that an answer adds to a table: their names beside the table's own, their kinds and their values."""

import json
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from sentiment_cli import console
from sentiment_cli.data.tables.writers import Kind, kind_of
from sentiment_cli.inference.batch.places import COLUMN_PREFIX, COUNTED

if TYPE_CHECKING:
    from sentiment_cli.inference.batch.pool import Answers
    from sentiment_cli.inference.predictor import Prediction


def added_columns(
    predictor: "Answers", taken: Iterable[str], *, is_flat: bool, shown: Callable[[str], str]
) -> tuple[dict[str, str], dict[str, Kind]]:
    """Return the column name of each prediction field beside the input's columns, and the kinds of columns."""
    from sentiment_cli.inference.predictor import Prediction

    each = dict.fromkeys(predictor.labels, 0.0)
    answer = Prediction("", "", 0.0, each, tokens=0, unknown=0, truncated=False, low_evidence=False)
    if predictor.target == "stars":
        answer = answer._replace(probability=None, probabilities=None, stars=0.0)
    elif predictor.target == "multilabel":
        answer = answer._replace(labels=())
    names, name_of, kinds = set(taken), {}, {}
    for name, value in answer_fields(answer, is_flat=is_flat, shown=shown).items():
        free = name
        while free in names:
            free = COLUMN_PREFIX + free
        names.add(free)
        name_of[name], kinds[free] = free, kind_of(value, None) or "text"
    renamed = [f"{name!r} is {free!r}" for name, free in name_of.items() if name != free]
    if renamed:
        console.say(f"data: beside the input's own columns the prediction's {', '.join(renamed)}")
    return name_of, kinds


def answer_fields(answer: "Prediction", *, is_flat: bool, shown: Callable[[str], str]) -> dict[str, Any]:
    """Return an answer without its text: as JSON has it, or with a column for each label's probability."""
    fields = answer.to_json()
    del fields["text"]
    if not is_flat:
        return fields
    if answer.probabilities is None:
        figures: dict[str, Any] = {"stars": answer.stars}
    else:
        each = {f"probability_{shown(label)}": probability for label, probability in answer.probabilities.items()}
        figures = {"probability": answer.probability, **each}
    of_several = {} if answer.labels is None else {"labels": _joined(answer.labels, shown)}
    return {**of_several, "label": shown(answer.label), **figures, **{name: fields[name] for name in COUNTED}}


def _joined(labels: Sequence[str], shown: Callable[[str], str]) -> str:
    """Return several labels as the text of a cell: with | between them, or as a JSON list where one has a |."""
    if any("|" in label for label in labels):
        return json.dumps([shown(label) for label in labels], ensure_ascii=False)
    return "|".join(map(shown, labels))
