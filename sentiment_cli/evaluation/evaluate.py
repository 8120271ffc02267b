"""A run on a split or on labelled rows of one's own: scores and predictions, printed and kept with the run."""

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from sentiment_cli import console, store
from sentiment_cli.config.schema import Data
from sentiment_cli.data.batches import Rows, rows_on
from sentiment_cli.data.corpus import encode_ahead, prepare
from sentiment_cli.data.labels import refuse_unknown
from sentiment_cli.data.sources import find_source
from sentiment_cli.data.stars import ratings_of
from sentiment_cli.data.texts import prepare_texts
from sentiment_cli.errors import UsageError
from sentiment_cli.evaluation.metrics import Scores, score_outputs
from sentiment_cli.inference.artefact import Artefact, load_artefact
from sentiment_cli.inference.predictor import class_probabilities, rows_of, score_rows
from sentiment_cli.models.device import memory_errors, select_device, set_up


@dataclass(frozen=True)
class Evaluation:
    """What `eval` found: the scores on `split` and, where some of its texts stand in train too, those without them."""

    split: str
    scores: Scores
    unseen: Scores | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the scores, with n and accuracy of the unseen texts under `unseen`."""
        found = {"split": self.split, **self.scores.to_json()}
        if self.unseen is not None:
            found["unseen"] = {name: getattr(self.unseen, name) for name in ("n", "accuracy", "accuracy_ci95")}
        return found


def evaluate(run: Path, split: str) -> Evaluation:
    """Score a run on a split of the corpus it was trained on; keep scores and predictions in RUN/evaluation/.

    Raises DataError where the corpus at hand is not the one the run was trained on.
    """
    artefact = load_artefact(run)
    corpus = prepare(artefact.experiment, (split,), artefact.data_key)
    packed = corpus.split(split)
    label_N, stars_N = packed.label_N, packed.stars_N
    device = _set_up(artefact)
    with memory_errors():
        output = _outputs(artefact, rows_on(device, packed), packed.length_N, device)
    target = artefact.experiment.data.target
    scores, unseen = score_outputs(output, label_N, stars_N, corpus.labels, target), None
    if split == "test" and 0 < packed.in_train_N.sum() < len(label_N):
        of = ~packed.in_train_N
        unseen = score_outputs(output[of], label_N[of], stars_N[of], corpus.labels, target)
    evaluation = Evaluation(split, scores, unseen)
    _keep(run, split, evaluation, corpus.ids(split), label_N, output, artefact)
    return evaluation


def evaluate_data(run: Path, data: Data) -> Evaluation:
    """Score a run on the labelled rows of any source: its test rows, where it has some of its own, else all.

    Raises DataError, both sides' labels shown, where rows are labelled otherwise than the run's.
    """
    artefact, source = load_artefact(run), find_source(data)
    texts = prepare_texts(source, "labelled")
    split = "test" if len(texts.rows("test")) else "train"
    found_N, stars_N = texts.rows(split).label_N, texts.rows(split).stars_N
    counts = Counter({label: int((found_N == i).sum()) for i, label in enumerate(texts.labels)})
    refuse_unknown(str(source.path or source.name), +counts, artefact.labels, "--label-map {}")
    place_of = [artefact.labels.index(label) if label in artefact.labels else -1 for label in texts.labels]
    label_N = np.array(place_of)[found_N]
    device = _set_up(artefact)
    with memory_errors():
        rows, length_N = rows_of(ids for chunk in encode_ahead(artefact.tokenizer, texts.read(split)) for ids in chunk)
        rows = Rows(*(tensor.to(device) for tensor in rows))
        output = _outputs(artefact, rows, length_N, device)
    scores = score_outputs(output, label_N, stars_N.astype(np.int64), artefact.labels, artefact.experiment.data.target)
    evaluation = Evaluation(source.name, scores)
    _keep(run, f"data-{source.name}", evaluation, texts.ids(split), label_N, output, artefact)
    return evaluation


def _set_up(artefact: Artefact) -> torch.device:
    device = _device_of(artefact.experiment.train.device)
    set_up(device, artefact.experiment.train.threads)
    return device


def _outputs(artefact: Artefact, rows: Rows, length_N: NDArray[np.int64], device: torch.device) -> NDArray[np.float64]:
    return score_rows(artefact.model.to(device), rows, length_N, artefact.experiment.text)


def _keep(
    run: Path,
    name: str,
    evaluation: Evaluation,
    ids: list[str],
    label_N: NDArray[np.int64],
    output: NDArray[np.float64],
    artefact: Artefact,
) -> None:
    """Write RUN/evaluation/NAME.json and NAME-predictions.jsonl, one line per row in its order, with its true label."""
    labels = artefact.labels
    answers: list[dict[str, Any]]
    if artefact.experiment.data.target == "stars":
        answers = [{"stars": rating} for rating in ratings_of(output).tolist()]
    else:
        rows = class_probabilities(output).tolist()
        answers = [{"probabilities": dict(zip(labels, row, strict=True))} for row in rows]
    lines = [
        json.dumps({"id": row_id, "label": labels[label], **answer}) + "\n"
        for row_id, label, answer in zip(ids, label_N.tolist(), answers, strict=True)
    ]
    store.write_file(run / "evaluation" / f"{name}-predictions.jsonl", "".join(lines).encode())
    store.write_file(run / "evaluation" / f"{name}.json", store.dump_json({"run": run.name, **evaluation.to_json()}))


def print_scores(evaluation: Evaluation) -> None:
    """Print scores for a reader, accuracy first."""
    scores, unseen = evaluation.scores, evaluation.unseen
    labels, (low, high) = tuple(scores.f1_per_label), scores.accuracy_ci95
    console.result(f"accuracy {scores.accuracy:.2%}   95 % interval {low:.2%} to {high:.2%}   n {scores.n:,}")
    if unseen is not None:
        low, high = unseen.accuracy_ci95
        n_seen = scores.n - unseen.n
        console.result(
            f"  without the {n_seen:,} that stand in train too: {unseen.accuracy:.2%} ({low:.2%} to {high:.2%})"
        )
    if scores.mae is not None:
        console.result(f"MAE {scores.mae:.3f} stars   RMSE {scores.rmse:.3f} stars")
    figures = {"loss": scores.loss, "F1": scores.f1, "AUC": scores.auc, "Brier": scores.brier, "ECE": scores.ece}
    console.result("   ".join(f"{name} {value:.4f}" for name, value in figures.items() if value is not None))
    width, corner = max(8, *(len(label) + 2 for label in labels)), "truth \\ predicted"
    margin = max(len(corner), width)
    console.result(f"{corner:>{margin}}" + "".join(f"{label:>{width}}" for label in labels))
    for label, row in zip(labels, scores.confusion, strict=True):
        console.result(f"{label:>{margin}}" + "".join(f"{count:>{width}}" for count in row))


def _device_of(name: str) -> torch.device:
    """The device the run was trained on, or, on a machine without it, what there is."""
    try:
        return select_device(name)
    except UsageError as error:
        console.warn(f"{error}; taking what there is")
        return select_device("auto")
