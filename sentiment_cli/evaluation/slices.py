"""Accuracy on slices of a split (subgroup analysis), with intervals, the worst first."""

import math
import string
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sentiment_cli import console
from sentiment_cli.config.schema import Text
from sentiment_cli.data.batching.truncation import max_own_tokens
from sentiment_cli.data.corpus.packed import Packed
from sentiment_cli.data.tokens.vocabulary import Vocabulary
from sentiment_cli.evaluation.metrics import wilson_interval

BUILT_IN = ("stars", "length", "truncated", "negation", "unknown", "movie", "group")
# Of a movie, or of another column with more values than these, those with few rows are taken together.
_MOST_VALUES, _FEWEST_ROWS = 20, 10
_SHOWN, _SHOWN_IF_ASKED, _LONGEST_SHOWN = 3, 20, 40
_UNKNOWN_BINS = {"none": 0.0, "up to 2 %": 0.02, "2 to 5 %": 0.05, "5 to 10 %": 0.1, "over 10 %": math.inf}
_NEGATIONS = frozenset(
    """no not nor neither never none nobody nothing nowhere without cannot hardly scarcely barely
    isnt arent wasnt werent dont doesnt didnt havent hasnt hadnt wont wouldnt cant couldnt shouldnt aint""".split()
)


class Partition(NamedTuple):
    """A partition of rows by one property: row i has `values[place_N[i]]`, and each value has rows."""

    name: str
    values: tuple[str, ...]
    place_N: NDArray[np.int64]


class Slice(NamedTuple):
    """How often a model is right on the rows of one value."""

    slice: str
    value: str
    n: int
    accuracy: float
    accuracy_ci95: tuple[float, float]

    def to_json(self) -> dict[str, Any]:
        return self._asdict()


def partition_rows(packed: Packed, groups: Sequence[str], vocabulary: Vocabulary, text: Text) -> list[Partition]:
    """Return the partitions of rows by all known attributes; those with a single value are left out.

    That is star rating, tenth by length, whether the model reads less than all of it, whether a negating word stands
    in it, share of unknown words, and movie or group, of which `groups` has the names.
    """
    length_N, most = packed.length_N, max_own_tokens(text)
    unknown_N = _count(packed, packed.ids_T == vocabulary.unknown_id)
    is_negation_V = np.array([_is_negation(entry, text.tokenizer == "bpe") for entry in vocabulary.entries])
    has_stars = bool((packed.stars_N > 0).any())  # which only IMDb's layout has, whose groups are movies
    names = [groups[i] if groups else f"#{i}" for i in range(int(packed.group_N.max(initial=-1)) + 1)]
    names.append("none")  # at -1, which stands for that
    found = [
        by_value("stars", [str(stars or "none") for stars in packed.stars_N.tolist()]),
        by_tenths("length", length_N),
        by_value("truncated", _yes_no(length_N > most) if most is not None else ["no"] * len(length_N)),
        by_value("negation", _yes_no(_count(packed, is_negation_V[packed.ids_T]) > 0)),
        _by_bins("unknown", unknown_N / np.maximum(length_N, 1), _UNKNOWN_BINS),
        by_value("movie" if has_stars else "group", [names[i] for i in packed.group_N.tolist()]),
    ]
    return [partition for partition in found if len(partition.values) > 1]


def by_column(name: str, values: Sequence[Any]) -> Partition:
    """Partition rows by a column: into deciles if it has many different numbers, else by value."""
    said = ["none" if value is None or value == "" or value != value else str(value) for value in values]
    if len(set(said)) > _MOST_VALUES:
        try:
            figure_N = np.array([float(value) for value in said])
        except ValueError:
            figure_N = np.array([math.nan])
        if np.isfinite(figure_N).all():
            return by_tenths(name, figure_N)
    return by_value(name, said)


def by_value(name: str, value_N: Sequence[str]) -> Partition:
    """Partition rows by value; with more than 20 values, those with fewer than 10 rows are merged."""
    place_of: dict[str, int] = {}
    place_N = np.array([place_of.setdefault(value, len(place_of)) for value in value_N], dtype=np.int64)
    values = list(place_of)
    if len(values) > _MOST_VALUES:
        is_rare_S = np.bincount(place_N) < _FEWEST_ROWS
        place_N = np.where(is_rare_S[place_N], len(values), place_N)
        values.append(f"all with fewer than {_FEWEST_ROWS} rows")
    return _without_empty(name, values, place_N)


def by_tenths(name: str, figure_N: NDArray[Any]) -> Partition:
    """Partition rows into deciles of a figure, as far as ties allow."""
    edges = np.unique(np.quantile(figure_N, np.arange(1, 10) / 10))
    place_N = np.searchsorted(edges, figure_N, side="right")
    parts = [figure_N[place_N == i] for i in range(len(edges) + 1)]
    values = [f"{part.min():,.6g} to {part.max():,.6g}" if len(part) else "" for part in parts]
    return _without_empty(name, values, place_N)


def slice_scores(partition: Partition, is_right_N: NDArray[np.bool_]) -> list[Slice]:
    """Return accuracy and interval of each value, the worst first."""
    n_S = np.bincount(partition.place_N).tolist()
    right_S = np.bincount(partition.place_N[is_right_N], minlength=len(n_S)).tolist()
    found = [
        Slice(partition.name, value, n, right / n, wilson_interval(right, n))
        for value, n, right in zip(partition.values, n_S, right_S, strict=True)
    ]
    return sorted(found, key=lambda one: (one.accuracy, -one.n, one.value))


def print_slices(slices: Sequence[Slice], asked: Sequence[str]) -> None:
    """Print the worst values of each slice for a reader: of all slices a few, of those asked for more."""
    rows: dict[str, list[Slice]] = {name: [] for name in asked}
    for one in slices:
        if not asked or one.slice in rows:
            rows.setdefault(one.slice, []).append(one)
    most = _SHOWN_IF_ASKED if asked else _SHOWN
    shown = [one for found in rows.values() for one in found[:most]]
    name_width, width = (max([5, *map(len, texts)]) for texts in (rows, [_one_line(one.value) for one in shown]))
    if shown:
        console.result(f"{'slice':<{name_width}}  {'worst':<{width}}        n  accuracy  95 % interval")
    for name, found in rows.items():
        for one in found[:most]:
            low, high = one.accuracy_ci95
            place = f"{name:<{name_width}}  {_one_line(one.value):<{width}}"
            console.result(f"{place}  {one.n:>7,}  {one.accuracy:>8.2%}  {low:.2%} to {high:.2%}")
        if not found:
            console.result(f"{name}: the reviews do not differ in it")


def _one_line(value: str) -> str:
    one_line = console.one_line(" ".join(value.split()))
    return one_line if len(one_line) <= _LONGEST_SHOWN else f"{one_line[: _LONGEST_SHOWN - 1]}…"


def _without_empty(name: str, values: Sequence[str], place_N: NDArray[np.int64]) -> Partition:
    kept, place_N = np.unique(place_N, return_inverse=True)
    return Partition(name, tuple(values[i] for i in kept.tolist()), place_N)


def _by_bins(name: str, figure_N: NDArray[np.float64], highest: dict[str, float]) -> Partition:
    """Partition rows by a figure into bins with these upper limits."""
    return _without_empty(name, list(highest), np.searchsorted(list(highest.values()), figure_N))


def _yes_no(is_so_N: NDArray[np.bool_]) -> list[str]:
    return ["yes" if is_so else "no" for is_so in is_so_N.tolist()]


def _count(packed: Packed, is_so_T: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Count in each row the tokens that are so."""
    row_of = np.searchsorted(packed.starts_N1, np.flatnonzero(is_so_T), side="right") - 1
    return np.bincount(row_of, minlength=len(packed.label_N))


def _is_negation(entry: str, is_piece: bool) -> bool:
    """Return whether a vocabulary entry is a negation; for byte pairs only word beginnings, and the 't of don't."""
    if is_piece and not entry.startswith("Ġ"):  # how byte-level vocabularies write the space before a word
        return entry == "'t"
    word = entry.removeprefix("Ġ").casefold().replace("’", "'").strip(string.punctuation)
    return word in _NEGATIONS or word.endswith("n't")
