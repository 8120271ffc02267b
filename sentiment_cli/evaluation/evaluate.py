"""Evaluating a run on a split or on other labelled rows; scores and predictions are stored with the run."""

import shlex
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sentiment_cli import console
from sentiment_cli.config.paths import local_imdb
from sentiment_cli.config.schema import Data
from sentiment_cli.data.corpus.duplicates import is_among, normalised_hashes
from sentiment_cli.data.corpus.packed import Packed
from sentiment_cli.data.corpus.raw_texts import prepare_texts
from sentiment_cli.data.corpus.targets import as_binary
from sentiment_cli.data.sources.download import archive_path
from sentiment_cli.data.sources.labels import LabelError, map_option, parse_label_map, refuse_unknown, straight_map
from sentiment_cli.data.sources.path_kinds import columns_of, format_of
from sentiment_cli.data.sources.source import Source, find_source
from sentiment_cli.data.tables.readers import Columns, Rejects, column_names, read_table
from sentiment_cli.errors import Change, DataError, UsageError
from sentiment_cli.evaluation.calibration import Bin, measure_calibration, reliability_bins
from sentiment_cli.evaluation.kept_scores import free_name, keep_evaluation
from sentiment_cli.evaluation.metrics import Scores, cross_validated
from sentiment_cli.evaluation.scoring import (
    ScoredSplit,
    has_learnt_validation,
    score_crossed,
    score_split,
    score_texts,
)
from sentiment_cli.evaluation.slices import (
    BUILT_IN,
    Partition,
    Slice,
    by_column,
    slice_scores,
)
from sentiment_cli.evaluation.target_scores import score_outputs, truth_of
from sentiment_cli.inference.predictor import class_probabilities, decide, given_labels, likeliest, probabilities_of
from sentiment_cli.runs.directory import is_run
from sentiment_cli.runs.ensemble_model import SavedModel, open_model
from sentiment_cli.runs.known_rows import home_of, read_known
from sentiment_cli.runs.ledger import record_opening
from sentiment_cli.runs.records import read_summary
from sentiment_cli.runs.saved_model import Calibration, experiment_of
from sentiment_cli.runs.seals import WHAT_ANSWERS, warn_edited


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
            found["calibration"] = {
                key: value for key, value in self.calibration._asdict().items() if value is not None
            }
        if self.openings is not None:
            found["test_openings"] = self.openings
        found["reliability"] = [one.to_json() for one in self.reliability]
        found["slices"] = [one.to_json() for one in self.slices]
        return found

    def absent(self) -> list[str]:
        """Return the labels that no row has."""
        rows = zip(self.scores.f1_per_label, self.scores.counts(), strict=True)
        return [label for label, count in rows if not count]


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
    warn_edited(run, WHAT_ANSWERS)
    model = open_model(run)
    openings = record_opening(run, split, command) if split == "test" else None
    folds = _crossed_folds(run) if split == "valid" else None
    is_learnt = split == "valid" and folds is None and has_learnt_validation(model.models)
    if is_learnt:
        console.warn(f"{run} was trained on its validation rows, too (train.refit): these scores are those of training")
    scored = score_split(model, split) if folds is None else score_crossed(run, model)
    is_known_N = _known_of_split(run, model, split, scored)
    evaluation = _judge(model, split, scored.packed, scored.output, scored.partitions(), openings, is_known_N)
    if folds is not None:
        evaluation = replace(evaluation, scores=cross_validated(evaluation.scores, folds))
    keep_evaluation(run, split, evaluation.to_json(), scored, model, is_learnt=is_learnt)
    return evaluation


def evaluate_data(run: Path, data: Data, slices: Sequence[str] = ()) -> Evaluation:
    """Score a run, or a model by itself, on the labelled rows of any source: its test rows if it has some, else all.

    Of `slices` those that a table has as columns are these columns. Raises DataError, both sides' labels shown, where
    rows are labelled otherwise than the run's, and for a slice that is neither built in nor a column.
    """
    if is_run(run):
        warn_edited(run, WHAT_ANSWERS)
    model = open_model(run)
    data = _as_model(data, model)
    source = find_source(data)
    if (as_trained := _columns_as_trained(model, source)) != data:
        source = find_source(as_trained)
        data = source.settings
    renamed = parse_label_map(data.label_map)
    try:
        texts = prepare_texts(source, "labelled")
    except LabelError as error:  # which joins labels to one another, and not to the model's
        if (straight := straight_map(error.counts, renamed, model.labels)) is not None:
            error.hint = map_option(straight)
        raise
    split = "test" if len(texts.rows("test")) else "train"
    ids = texts.ids(split)
    hash_N, known = normalised_hashes(texts.read(split)), read_known(run, model)
    if known is None:  # of a run of an earlier version, whose data are no longer prepared
        is_own = any(_opens_test(data, experiment_of(one).data) for one in model.models)
    else:
        is_own = bool(is_among(hash_N, known.test).any())
    openings = _record_opening(run, model, f"eval --data {data.source}") if is_own else None
    is_known_N = None if known is None else is_among(hash_N, known.learnt)
    counts = Counter(dict(zip(texts.labels, texts.counts(split).tolist(), strict=True)))
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
    keep_evaluation(run, free_name(run, f"data-{source.name}", texts.fingerprint), evaluation.to_json(), scored, model)
    return evaluation


def _columns_as_trained(model: SavedModel, source: Source) -> Data:
    """Return settings that read a table by the columns of the training rows, where it has them and none are asked for.

    Warns of a table that has other columns than that of the training labels.
    """
    data, own = source.settings, experiment_of(model.first).data
    if not source.is_table or source.path is None:
        return data
    names = column_names(source.path, format_of(data), columns_of(data))
    known = {}
    for key, wanted in (("text_column", own.text_column), ("label_column", own.label_column)):
        if wanted is not None and getattr(data, key) is None and set(Columns(wanted).named()) <= set(names):
            known[key] = wanted
    if own.label_column is not None and data.label_column is None and "label_column" not in known:
        console.warn(
            f"{source.path} has no column {own.label_column!r}, which the model's labels were read from; "
            "--label-column names another one"
        )
    return data.model_copy(update=known)


def _as_model(data: Data, model: SavedModel) -> Data:
    """Return settings that read labels as the model has them, several a row or one."""
    if model.target != "multilabel":
        if data.target == "multilabel":
            raise UsageError(f"{model.path} gives one label a row, and --set reads several", Change(without=["--set"]))
        return data
    own = experiment_of(model.first).data
    separator = own.label_separator if data.label_separator is None else data.label_separator
    read = {"target": "multilabel", "label_separator": separator, "without_label": own.without_label}
    return data.model_copy(update={key: value for key, value in read.items() if key not in data.model_fields_set})


def _record_opening(path: Path, model: SavedModel, command: str) -> int | None:
    """Record an evaluation on test in the ledger of the model's run; warn if the run is not present."""
    run = home_of(path, model)
    if run is None:
        console.say(f"these are test rows of {path}, whose run is not here: no ledger counts this opening")
        return None
    return record_opening(run, "test", command)


def _crossed_folds(run: Path) -> int | None:
    """Return the number of folds that a run was cross-validated in; None for one that was not."""
    folds: int | None = (read_summary(run).get("valid") or {}).get("folds")
    return folds


def _known_of_split(run: Path, model: SavedModel, split: str, scored: ScoredSplit) -> NDArray[np.bool_] | None:
    """Return which rows of a split occur in training rows of the run, its teachers or its starting points."""
    if split == "train" or (split == "valid" and has_learnt_validation(model.models)):
        return None
    in_train_N, known = scored.packed.in_train_N, read_known(run, model)
    if known is None or scored.digest_N is None:
        return in_train_N if split == "test" else None
    is_learnt_N = is_among(scored.digest_N, known.learnt)
    return is_learnt_N | in_train_N if split == "test" else is_learnt_N


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
    label_N, target, truth = packed.label_N, model.target, truth_of(packed)

    def scores_of(of: NDArray[np.bool_] | slice) -> Scores:
        return score_outputs(scaled[of], truth.rows(of), model.labels, target, model.threshold_C)

    scaled, unseen, calibration, bins = output / model.temperature, None, None, list[Bin]()
    n_known = None if is_known_N is None else int(is_known_N.sum())
    if is_known_N is not None and 0 < is_known_N.sum() < len(label_N):
        unseen = scores_of(~is_known_N)
    if target == "stars":
        is_right_N = (output >= 0) == label_N
    else:
        probability_NC = probabilities_of(scaled, target)
        logits, answer_N = as_binary(output, label_N, target, packed.sets_KC)
        calibration = measure_calibration(logits, answer_N, model.temperature)
        if packed.sets_KC is not None:
            is_right_N = (given_labels(probability_NC, model.threshold_C) == packed.sets_KC[label_N]).all(axis=1)
            sure_NC = class_probabilities(logits / model.temperature)
            bins = reliability_bins(likeliest(sure_NC) == answer_N, sure_NC.max(axis=1))
        else:
            decided_N = decide(probability_NC, target, model.threshold_C)
            is_right_N = decided_N == label_N
            bins = reliability_bins(is_right_N, probability_NC[np.arange(len(label_N)), decided_N])
    slices = [one for partition in partitions for one in slice_scores(partition, is_right_N)]
    scores = scores_of(slice(None))
    return Evaluation(name, scores, unseen, calibration, tuple(bins), tuple(slices), openings, n_known)
