"""Checks of the labels that a corpus has: several a row where these are learnt, and an order where ranks are."""

import json
import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sentiment_cli.data.sources.label_lists import find_separator
from sentiment_cli.data.sources.labels import said, sort_labels
from sentiment_cli.errors import Change, DataError, UsageError


def refuse_single_labels(source: str, labels: Sequence[str], sets_KC: NDArray[np.bool_]) -> None:
    """Raise DataError where no row has several labels."""
    if (sets_KC.sum(axis=1) > 1).any():
        return
    separator = find_separator(labels, is_told=True)
    raise DataError(
        f"data.target is multilabel, and no row of {source} has several labels"
        + (f"; {separator!r} may separate them" if separator else ""),
        Change("--set", f"data.label_separator={json.dumps(separator)}" if separator else "data.target=label"),
    )


def check_order(path: Path | None, order: Sequence[str], found: Counter[str]) -> list[str]:
    """Return data.label_order. Raises DataError where it lacks a label of the rows, or has others."""
    if set(order) == set(found):
        return list(order)
    whole = [*(label for label in order if label in found), *(one for one in sort_labels(found) if one not in order)]
    raise DataError(
        f"data.label_order is {', '.join(order)}, and the training rows of {path} are labelled {said(found)}",
        Change("--set", f"data.label_order={json.dumps(whole, ensure_ascii=False)}"),
    )


def check_ranks(labels: Sequence[str], order: Sequence[str]) -> None:
    """Raise UsageError for labels without ranks: fewer than three, or words whose order is not given."""
    if len(labels) < 3:
        raise UsageError(
            f"data.target is ordinal, and there are {len(labels)} labels, {', '.join(labels)}: of two none is between",
            Change("--set", "data.target=label"),
        )
    if not order and not all(map(_is_number, labels)):
        raise UsageError(
            f"data.target is ordinal, and the labels {', '.join(labels)} are not numbers: data.label_order says their "
            "order, from the lowest to the highest",
            Change("--set", f"data.label_order={json.dumps(list(labels), ensure_ascii=False)}"),
        )


def _is_number(label: str) -> bool:
    try:
        return math.isfinite(float(label))
    except ValueError:
        return False
