"""The JSON files of a run, checked by the type of each key; an error names the file and the key."""

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from sentiment_cli.runs.files import RECORD, SUMMARY
from sentiment_cli.runs.metric_table import METRICS, TOKEN_METRICS
from sentiment_cli.storage import store

Check = Callable[[Any, str], None]
_MOST = 1e15  # of any number in a run's files
_SHOWN = 40


def read_summary(run: Path, name: str = SUMMARY) -> dict[str, Any]:
    """Return a run's summary; an empty one for a run without."""
    return _read(run / name, _SUMMARY) if store.is_there(run / name) else {}


def check_validation(summary: dict[str, Any], run: Path, task: str, name: str = SUMMARY) -> None:
    """Raise IntegrityError for validation scores that lack a score of the task."""
    if summary.get("valid") is not None:
        _check(summary["valid"], _classified if task == "classify" else _object({"n": COUNT}), run / name, None)


def read_scores(path: Path, hint: str | None = None) -> dict[str, Any]:
    """Return stored scores: of a split, of other data, or outcomes without an accuracy."""
    found: dict[str, Any] = _read(path, _SOME_OBJECT, hint)
    if "accuracy" in found:
        _check(found, _scores, path, hint)
    return found


def read_record(run: Path) -> dict[str, Any]:
    """Return run.json; an empty object for a run without."""
    path = run / RECORD
    return _read(path, {"?changes": _list(_CHANGE)}) if store.is_there(path) else {}


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Return the rows of metrics.jsonl, without an incomplete last line of a killed process."""
    if not store.is_there(path):
        return []
    *lines, _half = store.read_file(path).split(b"\n")
    return [parse_row(line, f"{path}, line {n}", _METRICS) for n, line in enumerate(lines, 1)]


def parse_row(line: bytes, place: str, keys: "Mapping[str, Check]", hint: str | None = None) -> dict[str, Any]:
    """Return the object in a line of JSON Lines; raise IntegrityError where it has no such keys, or others' values."""
    found = store.parse_json(line, Path(place))
    _check(found, _object(keys), Path(place), hint)
    row: dict[str, Any] = found
    return row


def read_calibration(path: Path) -> dict[str, Any] | None:
    """Return a model's calibration.json; None without one."""
    if not store.is_there(path):
        return None
    figures = ("ece_before", "ece_after", "loss_before", "loss_after")
    optional = {f"?{name}": _or_none(NUMBER) for name in figures} | {"?thresholds": _or_none(mapping(SHARE))}
    return _read(path, {"temperature": NUMBER, **optional})


def _read(path: Path, keys: "Mapping[str, Check]", hint: str | None = None) -> dict[str, Any]:
    found: dict[str, Any] = store.read_json(path)
    _check(found, _object(keys), path, hint)
    return found


def _check(found: Any, check: Check, path: Path, hint: str | None) -> None:
    try:
        check(found, "")
    except ValueError as error:
        raise store.IntegrityError(f"{path} is damaged: {error}", hint) from error


def number(low: float, high: float, *, is_whole: bool = False) -> Check:
    """Return a check for finite numbers from `low` to `high`."""
    what = f"a {'whole ' if is_whole else ''}number" + (f" from {low:g} to {high:g}" if high < _MOST else "")

    def check(value: Any, key: str) -> None:
        is_number = isinstance(value, int if is_whole else int | float) and not isinstance(value, bool)
        if not is_number or not low <= value <= high:  # which no NaN is
            raise _wrong(key, value, what)

    return check


NUMBER, SHARE, COUNT = number(-_MOST, _MOST), number(0, 1), number(0, _MOST, is_whole=True)
ANYTHING: Check = lambda value, key: None  # noqa: E731


def text(value: Any, key: str) -> None:
    if not isinstance(value, str):
        raise _wrong(key, value, "text")


def truth(value: Any, key: str) -> None:
    if not isinstance(value, bool):
        raise _wrong(key, value, "true or false")


def _or_none(check: Check) -> Check:
    return lambda value, key: None if value is None else check(value, key)


def _list(check: Check, n: int | None = None) -> Check:
    def check_list(value: Any, key: str) -> None:
        if not isinstance(value, list) or (n is not None and len(value) != n):
            raise _wrong(key, value, "a list" if n is None else f"a list of {n}")
        for i, one in enumerate(value):
            check(one, f"{key}[{i}]")

    return check_list


def mapping(check: Check) -> Check:
    """Return a check for objects with any keys, whose values all pass a check."""

    def check_mapping(value: Any, key: str) -> None:
        if not isinstance(value, dict):
            raise _wrong(key, value, "an object")
        for name, one in value.items():
            check(one, f"{key}.{name}" if key else name)

    return check_mapping


def _object(keys: "Mapping[str, Check]") -> Check:
    """Return a check for objects with these keys; one that begins with ? may be missing, and any others be there."""

    def check_object(value: Any, key: str) -> None:
        if not isinstance(value, dict):
            raise _wrong(key, value, "an object")
        for name, check in keys.items():
            own = name.removeprefix("?")
            place = f"{key}.{own}" if key else own
            if own in value:
                check(value[own], place)
            elif own == name:
                raise ValueError(f"{place} is missing")

    return check_object


def _wrong(key: str, value: Any, expected: str) -> ValueError:
    try:
        shown = json.dumps(value)
    except ValueError:  # a whole number of thousands of digits
        shown = "a huge number"
    if isinstance(value, float) and not math.isfinite(value):
        shown = str(value)
    shown = shown if len(shown) <= _SHOWN else f"{shown[:_SHOWN]}…"
    return ValueError(f"{key or 'the whole'} is {shown}, and should be {expected}")


_INTERVAL = _list(SHARE, 2)
_SLICE = _object({"slice": text, "value": ANYTHING, "n": COUNT, "accuracy": SHARE, "accuracy_ci95": _INTERVAL})
_OPTIONAL = {f"?{key}": _or_none(NUMBER) for key in METRICS | TOKEN_METRICS}


def _unseen(value: Any, key: str) -> None:
    """Check the scores of the unseen rows; where there are none, the accuracy and its interval are null."""
    _object({"n": COUNT})(value, key)
    has_rows = value["n"] > 0
    accuracy, interval = (SHARE, _INTERVAL) if has_rows else (_or_none(SHARE), _or_none(_INTERVAL))
    _object({"accuracy": accuracy, "accuracy_ci95": interval})(value, key)


def _scores(value: Any, key: str) -> None:
    """Check scores, and that their confusion has a row and a column for each label, but where rows have several."""
    _object(_SCORES)(value, key)
    labels, confusion = value.get("f1_per_label"), value.get("confusion")
    if labels is not None and confusion is not None and value.get("rows_per_label") is None:
        _list(_list(COUNT, len(labels)), len(labels))(confusion, f"{key}.confusion" if key else "confusion")


_SCORES: dict[str, Check] = {
    **{key: check for key, check in _OPTIONAL.items() if key != "?accuracy"},
    "n": COUNT,
    "accuracy": SHARE,
    "accuracy_ci95": _INTERVAL,
    "f1_per_label": mapping(SHARE),
    "confusion": _list(_list(COUNT)),
    **{f"?{name}_per_label": mapping(SHARE) for name in ("precision", "recall")},
    "?average_precision_per_label": mapping(_or_none(SHARE)),
    "?rows_per_label": _or_none(mapping(COUNT)),
    "?unseen": _or_none(_unseen),
    "?slices": _list(_SLICE),
    "?calibration": _or_none(mapping(NUMBER)),
    "?reliability": _list(mapping(ANYTHING)),
    "?test_openings": _or_none(COUNT),
    "?trained_on": truth,
    "?texts": text,
    "?run": text,
}
_SOME_OBJECT: dict[str, Check] = {}


_VALIDATION: dict[str, Check] = {
    "?n": COUNT,
    "?accuracy_ci95": _INTERVAL,
    "?f1_per_label": mapping(SHARE),
    **_OPTIONAL,
}


def _classified(value: Any, _: str) -> None:
    _scores(value, "valid")


_SUMMARY: dict[str, Check] = {
    "status": text,
    "source": _or_none(text),
    "finished_at": number(0, 1e11),
    "valid": _or_none(_object(_VALIDATION)),
    "?seconds": mapping(number(0, _MOST)),
    "?versions": mapping(text),
    "?task": text,
    "?best_epoch": _or_none(COUNT),
    "?refit_steps": _or_none(COUNT),
    "?tokens_per_second": _or_none(NUMBER),
    "?fingerprint": mapping(_or_none(text)),
    "?ensemble": _object({"weights": mapping(NUMBER), "?weighing": text, "?members": mapping(ANYTHING)}),
}
_CHANGE = _object({"step": COUNT, "key": text, "from": ANYTHING, "to": ANYTHING})
_METRICS: dict[str, Check] = {
    "step": COUNT,
    "?epoch": _or_none(NUMBER),
    "?train_loss": _or_none(NUMBER),
    "?valid_loss": _or_none(NUMBER),
    "?valid_accuracy": _or_none(NUMBER),
    "?best": truth,
    "?stage": text,
}
ANSWER: dict[str, Check] = {
    "id": text,
    "?label": text,
    "?labels": _list(text),
    "?predicted": ANYTHING,
    "?probabilities": mapping(SHARE),
    "?stars": NUMBER,
}
