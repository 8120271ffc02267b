"""Contrast sets: labelled pairs of an original and a minimally edited text (Gardner et al. 2020)."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from sentiment_cli import console
from sentiment_cli.config.schema import Data
from sentiment_cli.data.sources.labels import find_label, parse_label_map, refuse_unknown, refuse_unused
from sentiment_cli.data.sources.source import name_of_source
from sentiment_cli.data.tables.readers import SUFFIXES, Columns, Rejects, read_table, table_kind
from sentiment_cli.errors import DataError
from sentiment_cli.evaluation.behaviour import AxisShare, keep_outcomes, predict_pairs, refuse_several, shorten
from sentiment_cli.evaluation.kept_scores import free_name
from sentiment_cli.runs.ensemble_model import open_model
from sentiment_cli.storage import store

_MISTAKES_SHOWN = 3


class LabelledPair(NamedTuple):
    """Two texts and their labels."""

    original: str
    contrast: str
    original_label: str
    contrast_label: str


@dataclass(frozen=True)
class PairScores:
    """A model on labelled pairs: on each side, and on both sides of a pair at once."""

    name: str
    pairs: list[LabelledPair]
    said: list[tuple[str, str]]

    def shares(self) -> dict[str, AxisShare]:
        """Return accuracy on the originals and on the contrasts, and consistency."""
        right_N2 = np.array(self.said) == np.array([pair[2:] for pair in self.pairs])
        n = len(self.pairs)
        original, contrast = right_N2.sum(axis=0).tolist()
        both = int(right_N2.all(axis=1).sum())
        return {
            "accuracy_original": AxisShare(original, n),
            "accuracy_contrast": AxisShare(contrast, n),
            "consistency": AxisShare(both, n),
        }

    def to_json(self) -> dict[str, Any]:
        """Return the three shares, and every pair with its predictions."""
        found: dict[str, Any] = {"pairs_file": self.name, "n": len(self.pairs)}
        for name, share in self.shares().items():
            found |= share.to_json(name)
        rows = [
            {**pair._asdict(), "original_predicted": original, "contrast_predicted": contrast}
            for pair, (original, contrast) in zip(self.pairs, self.said, strict=True)
        ]
        return {**found, "pairs": rows}


def evaluate_pairs(run: Path, data: Data) -> PairScores:
    """Score a run on a file of labelled pairs; write the result to RUN/evaluation/pairs-NAME.json.

    The file is a table with columns original, contrast, original_label and contrast_label. Raises DataError for one
    that is none, and, both sides' labels shown, where its labels are not the run's.
    """
    model, path = open_model(run), Path(data.source)
    refuse_several(model)
    pairs = read_contrast_pairs(path, data.label_map)
    counts = Counter(label for pair in pairs for label in pair[2:])
    refuse_unknown(str(path), counts, model.labels, parse_label_map(data.label_map), is_eval=True)
    answers = predict_pairs(model, [pair[:2] for pair in pairs])
    said = [(original.label, contrast.label) for original, contrast in answers]
    name = name_of_source(path)
    scores = PairScores(name, pairs, said)
    texts = store.sha256_of(path)
    keep_outcomes(run, free_name(run, f"pairs-{name}", texts), {"texts": texts, **scores.to_json()})
    return scores


def read_contrast_pairs(path: Path, label_map: Sequence[str] = ()) -> list[LabelledPair]:
    """Read a file of labelled pairs, its labels renamed by OLD=NEW; pairs of a label with an empty NEW are left out.

    Raises DataError for a file that is none.
    """
    if table_kind(path) is None:
        raise DataError(f"{path}: pairs are read from {', '.join(SUFFIXES)} (also gzipped)")
    renamed, seen = parse_label_map(label_map), Counter[str]()
    sides = [list(_read_side(path, side, renamed, seen)) for side in ("original", "contrast")]
    if not sides[0]:
        raise DataError(f"{path} holds no pairs")
    refuse_unused(renamed, seen)
    pairs = [LabelledPair(one, two, label, other) for (one, label), (two, other) in zip(*sides, strict=True)]
    kept = [pair for pair in pairs if all(pair[2:])]
    if not kept:
        raise DataError(f"{path}: --label-map leaves out all {len(pairs):,} pairs", "sentiment eval --help")
    if len(kept) < len(pairs):
        console.say(f"data: --label-map leaves out {len(pairs) - len(kept):,} of {len(pairs):,} pairs")
    return kept


def _read_side(path: Path, side: str, renamed: Mapping[str, str], seen: Counter[str]) -> Iterator[tuple[str, str]]:
    try:
        rows = list(read_table(path, Columns(side, f"{side}_label"), Rejects("stop"), has_labels=True))
    except DataError as error:
        columns = "original, contrast, original_label and contrast_label"
        raise DataError(f"{error}; a file of pairs has the columns {columns}", "sentiment eval --help") from error
    for row in rows:
        place = f"{path}, row {row.number}"
        try:
            found, label = find_label(row.label, renamed)
        except ValueError as error:
            raise DataError(f"{place}: {error}") from error
        if label is None or not isinstance(row.text, str):
            missing = "label" if label is None else "text"
            raise DataError(f"{place}: the {missing} of its {side} is missing")
        seen[str(found)] += 1
        yield row.text.encode("utf-8", "replace").decode(), label  # a JSON escape can spell half a character


def print_pair_scores(scores: PairScores) -> None:
    """Print accuracies and consistency for a reader, with some pairs of which one side or both are wrong."""
    for name, share in scores.shares().items():
        console.result(f"{name.replace('_', ' of the '):<24} {share}   n {share.n:,}")
    wrong = [(pair, said) for pair, said in zip(scores.pairs, scores.said, strict=True) if pair[2:] != said]
    for pair, said in wrong[:_MISTAKES_SHOWN]:
        for text, label, answer in zip(pair[:2], pair[2:], said, strict=True):
            console.result(f"  {console.one_line(answer)} for {console.one_line(label)}: {shorten(text)}")
