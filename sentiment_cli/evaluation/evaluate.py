"""A run on a split or on labelled rows of one's own: scores and predictions, printed and kept with the run."""

import shlex
import shutil
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
from sentiment_cli.evaluation.calibration import Bin, measure_calibration, print_reliability, reliability_bins
from sentiment_cli.evaluation.metrics import Scores, score_outputs
from sentiment_cli.evaluation.scoring import ScoredSplit, has_learnt_validation, score_split, score_texts
from sentiment_cli.evaluation.slices import (
    BUILT_IN,
    Partition,
    Slice,
    by_column,
    print_slices,
    slice_scores,
)
from sentiment_cli.inference.predictor import class_probabilities, likeliest
from sentiment_cli.inference.torch_model import experiment_of
from sentiment_cli.runs.directory import is_run
from sentiment_cli.runs.ensemble_model import AnyModel, open_model
from sentiment_cli.runs.known_rows import home_of, read_known
from sentiment_cli.runs.ledger import record_opening
from sentiment_cli.runs.predictions import write_predictions
from sentiment_cli.runs.records import read_scores
from sentiment_cli.runs.saved_model import Calibration
from sentiment_cli.runs.seals import write_result
from sentiment_cli.storage import store


@dataclass(frozen=True)
class Evaluation:
    """What `eval` found: the scores on `split` and, where some of its rows were trained on, those without them.

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
    is_learnt = split == "valid" and has_learnt_validation(model)
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


def _record_opening(path: Path, model: AnyModel, command: str) -> int | None:
    """Write an opening down in the ledger of the run that a model is of; say so where that run is not here."""
    run = home_of(path, model)
    if run is None:
        console.say(f"these are test rows of {path}, whose run is not here: no ledger counts this opening")
        return None
    return record_opening(run, "test", command)


def _known_of_split(run: Path, model: AnyModel, split: str, scored: ScoredSplit) -> NDArray[np.bool_] | None:
    """Say which rows of a split stand in training rows: the run's own, or those that a teacher or an origin learnt."""
    if split == "train" or (split == "valid" and has_learnt_validation(model)):
        return None
    in_train_N, known = scored.packed.in_train_N, read_known(run, model)
    if known is None or scored.digest_N is None:
        return in_train_N if split == "test" else None
    is_learnt_N = is_among(scored.digest_N, known.learnt)
    return is_learnt_N | in_train_N if split == "test" else is_learnt_N


def discard_scores(run: Path) -> None:
    """Remove what was kept of a model that training has gone on with; the ledger stays."""
    for path in (run / "evaluation").glob("*"):
        if path.name.endswith((".json", "-predictions.jsonl")):
            store.remove_file(path)


def free_name(run: Path, name: str, fingerprint: str) -> str:
    """Return the name to keep scores of some rows under: one that is not taken by the scores of others."""
    path = run / "evaluation" / f"{name}.json"
    is_taken = is_run(run) and store.is_there(path) and read_scores(path).get("texts", fingerprint) != fingerprint
    return f"{name}-{fingerprint[-8:]}" if is_taken else name


def _opens_test(data: Data, own: Data) -> bool:
    """Say whether the data to score is what a run took its test rows from."""
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
    model: AnyModel,
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
    model: AnyModel,
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
    write_result(run, f"evaluation/{name}.json", store.dump_json(about))


def print_scores(evaluation: Evaluation, asked: Sequence[str] = (), *, with_reliability: bool = False) -> None:
    """Print scores for a reader, accuracy first; of slices the worst few, or more of those asked for."""
    scores, unseen, calibration = evaluation.scores, evaluation.unseen, evaluation.calibration
    low, high = scores.accuracy_ci95
    console.result(f"accuracy {scores.accuracy:.2%}   95 % interval {low:.2%} to {high:.2%}   n {scores.n:,}")
    if unseen is not None:
        low, high = unseen.accuracy_ci95
        console.result(
            f"  without the {evaluation.n_known:,} that were trained on: "
            f"{unseen.accuracy:.2%} ({low:.2%} to {high:.2%}), n {unseen.n:,}"
        )
    elif evaluation.n_known:
        console.result(f"  all {scores.n:,} were trained on: this says nothing of new texts")
    if absent := evaluation.absent():
        what = "the macro means leave it out, and there is no AUC of all labels"
        console.warn(f"no {evaluation.split} row is labelled {', '.join(map(repr, absent))}: {what}")
    if evaluation.openings is not None:
        times = "once" if evaluation.openings == 1 else f"{evaluation.openings:,} times"
        console.result(f"  test opened {times} for this run")
    if scores.mae is not None:
        console.result(f"MAE {scores.mae:.3f} stars   RMSE {scores.rmse:.3f} stars")
    figures = {"loss": scores.loss, "F1": scores.f1, "AUC": scores.auc, "AP": scores.average_precision}
    figures |= {"Brier": scores.brier, "ECE": scores.ece}
    console.result("   ".join(f"{name} {value:.4f}" for name, value in figures.items() if value is not None))
    if calibration is not None and calibration.temperature != 1:
        before = f"loss {calibration.loss_before:.4f}   ECE {calibration.ece_before:.4f}"
        console.result(f"  before calibration, at temperature 1 instead of {calibration.temperature:.3f}: {before}")
    _print_labels(scores)
    _print_confusion(scores)
    if with_reliability and evaluation.reliability:
        print_reliability(evaluation.reliability)
    print_slices(evaluation.slices, asked)


def _print_labels(scores: Scores) -> None:
    labels = tuple(scores.f1_per_label)
    width = max(len("all, macro"), *(len(console.one_line(label)) for label in labels))
    console.result(f"{'label':<{width}}  precision  recall      F1        n")
    for i, label in enumerate(labels):
        precision, recall = scores.precision_per_label[label], scores.recall_per_label[label]
        f1, n = scores.f1_per_label[label], sum(scores.confusion[i])
        console.result(f"{console.one_line(label):<{width}}  {precision:>9.4f}  {recall:.4f}  {f1:.4f}  {n:>7,}")
    console.result(
        f"{'all, macro':<{width}}  {scores.precision:>9.4f}  {scores.recall:.4f}  {scores.f1:.4f}  {scores.n:>7,}"
    )


def _print_confusion(scores: Scores) -> None:
    """Print the confusion matrix, as many columns at a time as the terminal is wide enough for."""
    labels, corner = tuple(map(console.one_line, scores.f1_per_label)), "truth \\ predicted"
    width = max(8, *(len(label) + 2 for label in labels))
    margin = max(len(corner), width)
    most = max(1, (shutil.get_terminal_size().columns - margin) // width)
    for first in range(0, len(labels), most):
        console.result(f"{corner:>{margin}}" + "".join(f"{label:>{width}}" for label in labels[first : first + most]))
        for label, row in zip(labels, scores.confusion, strict=True):
            console.result(f"{label:>{margin}}" + "".join(f"{count:>{width}}" for count in row[first : first + most]))
