"""Evaluating a run on a split or on other labelled rows; scores and predictions are stored with the run."""

import shlex
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sentiment_cli import console
from sentiment_cli.config.paths import local_imdb
from sentiment_cli.config.schema import Data
from sentiment_cli.data.corpus.duplicates import is_among, normalised_hashes
from sentiment_cli.data.corpus.packed import Packed
from sentiment_cli.data.corpus.ratings import ratings_of
from sentiment_cli.data.corpus.raw_texts import prepare_texts
from sentiment_cli.data.sources.download import archive_path
from sentiment_cli.data.sources.labels import LabelError, map_option, parse_label_map, refuse_unknown, straight_map
from sentiment_cli.data.sources.path_kinds import columns_of, format_of
from sentiment_cli.data.sources.source import Source, find_source
from sentiment_cli.data.tables.readers import Rejects, column_names, read_table
from sentiment_cli.errors import Change, DataError, UsageError
from sentiment_cli.evaluation.calibration import Bin, measure_calibration, reliability_bins
from sentiment_cli.evaluation.metrics import Scores, score_outputs
from sentiment_cli.evaluation.scoring import ScoredSplit, has_learnt_validation, score_split, score_texts
from sentiment_cli.evaluation.slices import (
    BUILT_IN,
    Partition,
    Slice,
    by_column,
    slice_scores,
)
from sentiment_cli.inference.predictor import class_probabilities, likeliest
from sentiment_cli.inference.torch_model import experiment_of
from sentiment_cli.runs.directory import is_run
from sentiment_cli.runs.ensemble_model import SavedModel, open_model
from sentiment_cli.runs.files import predictions_paths, scores_name, scores_paths
from sentiment_cli.runs.known_rows import home_of, read_known
from sentiment_cli.runs.ledger import record_opening
from sentiment_cli.runs.predictions import write_predictions
from sentiment_cli.runs.records import read_scores
from sentiment_cli.runs.saved_model import Calibration
from sentiment_cli.runs.seals import write_result
from sentiment_cli.storage import store


@dataclass(frozen=True)
class Evaluation:
    """The result of an evaluation: scores on `split` and, if some rows were trained on, scores without them.

    `n_known` counts these: rows whose text stands in training rows, the run's own or a teacher's; None where that is
    not known, or goes without saying. `unseen` is None where there are none, or nothing but them. `calibration` is of
    these rows and None for star ratings, as `reliability` is then empty. `openings` counts how often the run's test
    reviews were opened, this time included; None where they were not.
    """

    split: str
    scores: Scores
    unseen: Scores | None = None
    calibration: Calibration | None = None
    reliability: tuple[Bin, ...] = ()
    slices: tuple[Slice, ...] = ()
    openings: int | None = None
    n_known: int | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the scores, with n and accuracy of the unseen texts under `unseen`: 0 and null where all are known."""
        found = {"split": self.split, **self.scores.to_json()}
        if self.n_known is not None:
            found["n_trained_on"] = self.n_known
        if self.unseen is not None:
            found["unseen"] = {name: getattr(self.unseen, name) for name in ("n", "accuracy", "accuracy_ci95")}
        elif self.n_known:
            found["unseen"] = {"n": 0, "accuracy": None, "accuracy_ci95": None}
        if absent := self.absent():
            found["labels_without_rows"] = absent
        if self.calibration is not None:
            found["calibration"] = self.calibration._asdict()
        if self.openings is not None:
            found["test_openings"] = self.openings
        found["reliability"] = [one.to_json() for one in self.reliability]
        found["slices"] = [one.to_json() for one in self.slices]
        return found

    def absent(self) -> list[str]:
        """Return the labels that no row has."""
        rows = zip(self.scores.f1_per_label, self.scores.confusion, strict=True)
        return [label for label, counts in rows if not sum(counts)]


def evaluate(run: Path, split: str, command: str = "eval") -> Evaluation:
    """Score a run on a split of the corpus it was trained on; keep scores and predictions in RUN/evaluation/.

    An opening of the test split is written down as `command`'s. Raises DataError where the corpus at hand is not the
    one the run was trained on.
    """
    if not is_run(run):
        raise UsageError(
            f"{run} is a model without its run, so there is no {split} split of its own to score",
            f"sentiment eval {shlex.quote(str(run))} --behaviour",
        )
    model = open_model(run)
    openings = record_opening(run, split, command) if split == "test" else None
    is_learnt = split == "valid" and has_learnt_validation(model.models)
    if is_learnt:
        console.warn(f"{run} was trained on its validation rows, too (train.refit): these scores are those of training")
    scored = score_split(model, split)
    is_known_N = _known_of_split(run, model, split, scored)
    evaluation = _judge(model, split, scored.packed, scored.output, scored.partitions(), openings, is_known_N)
    _keep(run, split, evaluation, scored, model, is_learnt=is_learnt)
    return evaluation


def evaluate_data(run: Path, data: Data, slices: Sequence[str] = ()) -> Evaluation:
    """Score a run, or a model by itself, on the labelled rows of any source: its test rows if it has some, else all.

    Of `slices` those that a table has as columns are these columns. Raises DataError, both sides' labels shown, where
    rows are labelled otherwise than the run's, and for a slice that is neither built in nor a column.
    """
    model, source = open_model(run), find_source(data)
    renamed = parse_label_map(data.label_map)
    try:
        texts = prepare_texts(source, "labelled")
    except LabelError as error:  # which joins labels to one another, and not to the model's
        error.hint = map_option(straight_map(error.counts, renamed, model.labels))
        raise
    split = "test" if len(texts.rows("test")) else "train"
    rows, ids = texts.rows(split), texts.ids(split)
    hash_N, known = normalised_hashes(texts.read(split)), read_known(run, model)
    if known is None:  # of a run of an earlier version, whose data are no longer prepared
        is_own = any(_opens_test(data, experiment_of(one).data) for one in model.models)
    else:
        is_own = bool(is_among(hash_N, known.test).any())
    openings = _record_opening(run, model, f"eval --data {data.source}") if is_own else None
    is_known_N = None if known is None else is_among(hash_N, known.learnt)
    counts = Counter({label: int((rows.label_N == i).sum()) for i, label in enumerate(texts.labels)})
    refuse_unknown(str(source.path or source.name), +counts, model.labels, renamed, is_eval=True)
    is_table = source.is_table and source.path is not None
    there = column_names(source.path, format_of(data), columns_of(data)) if is_table and source.path else []
    columns = [name for name in slices if name in there or name not in BUILT_IN]
    by_columns = [by_column(name, _read_values(source, name, ids)) for name in columns]
    if is_known_N is not None and (n_known := int(is_known_N.sum())):
        console.warn(f"{n_known:,} of these {len(ids):,} rows were trained on")
    scored = score_texts(model, texts, split, source.name)
    partitions = [*by_columns, *(one for one in scored.partitions() if one.name not in columns)]
    evaluation = _judge(model, source.name, scored.packed, scored.output, partitions, openings, is_known_N)
    _keep(run, free_name(run, f"data-{source.name}", texts.fingerprint), evaluation, scored, model)
    return evaluation


def _record_opening(path: Path, model: SavedModel, command: str) -> int | None:
    """Record an evaluation on test in the ledger of the model's run; warn if the run is not present."""
    run = home_of(path, model)
    if run is None:
        console.say(f"these are test rows of {path}, whose run is not here: no ledger counts this opening")
        return None
    return record_opening(run, "test", command)


def _known_of_split(run: Path, model: SavedModel, split: str, scored: ScoredSplit) -> NDArray[np.bool_] | None:
    """Return which rows of a split occur in training rows of the run, its teachers or its starting points."""
    if split == "train" or (split == "valid" and has_learnt_validation(model.models)):
        return None
    in_train_N, known = scored.packed.in_train_N, read_known(run, model)
    if known is None or scored.digest_N is None:
        return in_train_N if split == "test" else None
    is_learnt_N = is_among(scored.digest_N, known.learnt)
    return is_learnt_N | in_train_N if split == "test" else is_learnt_N


def discard_scores(run: Path) -> None:
    """Remove scores and predictions of an earlier model of a resumed run; the ledger stays."""
    for path in (*scores_paths(run), *predictions_paths(run)):
        store.remove_file(path)


def free_name(run: Path, name: str, fingerprint: str) -> str:
    """Return the name to keep scores of some rows under: one that is not taken by the scores of others."""
    path = run / scores_name(name)
    is_taken = is_run(run) and store.is_there(path) and read_scores(path).get("texts", fingerprint) != fingerprint
    return f"{name}-{fingerprint[-8:]}" if is_taken else name


def _opens_test(data: Data, own: Data) -> bool:
    """Return whether the data to score are the source of the run's test rows."""
    places = (own.source, own.test, *((local_imdb(), archive_path()) if own.source == "imdb" else ()))
    return Path(data.source).resolve() in {Path(place).resolve() for place in places if place is not None}


def _read_values(source: Source, column: str, ids: Sequence[str]) -> list[Any]:
    """Return a column's value of each row, by the rows' numbers; the column is read as if it named groups."""
    settings, path = source.settings, source.path
    if not source.is_table or path is None:
        raise UsageError(
            f"{path or source.name} has no columns: --slice {column} is none of {', '.join(BUILT_IN)}",
            Change("--slice", "length", without=["--slice"]),
        )
    columns = columns_of(settings)._replace(group=column)
    try:
        read = read_table(path, columns, Rejects("skip"), has_labels=True, is_told=False, how=format_of(settings))
        rows = {str(row.number): row.group for row in read}
    except DataError as error:
        raise DataError(str(error), Change(without=["--slice"])) from error
    return [rows[row_id] for row_id in ids]


def _judge(
    model: SavedModel,
    name: str,
    packed: Packed,
    output: NDArray[np.float64],
    partitions: Sequence[Partition],
    openings: int | None,
    is_known_N: NDArray[np.bool_] | None,
) -> Evaluation:
    """Score a model's outputs, which are not divided by its temperature yet; `is_known_N` were trained on."""
    label_N, target = packed.label_N, model.target

    def scores_of(of: NDArray[np.bool_] | slice) -> Scores:
        return score_outputs(scaled[of], label_N[of], packed.stars_N[of], model.labels, target)

    scaled, unseen, calibration, bins = output / model.temperature, None, None, list[Bin]()
    n_known = None if is_known_N is None else int(is_known_N.sum())
    if is_known_N is not None and 0 < is_known_N.sum() < len(label_N):
        unseen = scores_of(~is_known_N)
    if target == "stars":
        is_right_N = (output >= 0) == label_N
    else:
        probability_NC = class_probabilities(scaled)
        is_right_N = likeliest(probability_NC) == label_N
        calibration = measure_calibration(output, label_N, model.temperature)
        bins = reliability_bins(is_right_N, probability_NC.max(axis=1))
    slices = [one for partition in partitions for one in slice_scores(partition, is_right_N)]
    scores = scores_of(slice(None))
    return Evaluation(name, scores, unseen, calibration, tuple(bins), tuple(slices), openings, n_known)


def _keep(
    run: Path,
    name: str,
    evaluation: Evaluation,
    scored: ScoredSplit,
    model: SavedModel,
    *,
    is_learnt: bool = False,
) -> None:
    """Write RUN/evaluation/NAME.json and NAME-predictions.jsonl, one line per row in its order, with its true label.

    NAME.json says which texts they are of, and whether the model was trained on them in the end. Of a model without
    its run nothing is kept.
    """
    if not is_run(run):
        return
    labels, output = model.labels, scored.output
    answers: list[dict[str, Any]]
    if model.target == "stars":
        answers = [{"stars": rating} for rating in ratings_of(output).tolist()]
    else:
        rows = class_probabilities(output / model.temperature).tolist()
        answers = [{"probabilities": dict(zip(labels, row, strict=True))} for row in rows]
    true_labels = [labels[label] for label in scored.packed.label_N.tolist()]
    about = {"run": run.name, "texts": scored.texts, "trained_on": is_learnt, **evaluation.to_json()}
    write_predictions(run, name, scored.ids, true_labels, answers)
    write_result(run, scores_name(name), store.dump_json(about))
