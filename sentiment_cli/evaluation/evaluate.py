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
from sentiment_cli.data.texts import prepare_texts
from sentiment_cli.errors import UsageError
from sentiment_cli.evaluation.metrics import Scores, score
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
    device = _set_up(artefact)
    with memory_errors():
        probability_NC = _probabilities(artefact, rows_on(device, packed), packed.length_N, device)
    scores, unseen = score(packed.label_N, probability_NC, corpus.labels), None
    if split == "test" and 0 < packed.in_train_N.sum() < len(packed.label_N):
        is_unseen_N = ~packed.in_train_N
        unseen = score(packed.label_N[is_unseen_N], probability_NC[is_unseen_N], corpus.labels)
    evaluation = Evaluation(split, scores, unseen)
    _keep(run, split, evaluation, corpus.ids(split), packed.label_N, probability_NC, corpus.labels)
    return evaluation


def evaluate_data(run: Path, data: Data) -> Evaluation:
    """Score a run on the labelled rows of any source: its test rows, where it has some of its own, else all.

    Raises DataError, both sides' labels shown, where rows are labelled otherwise than the run's.
    """
    artefact, source = load_artefact(run), find_source(data)
    texts = prepare_texts(source, "labelled")
    split = "test" if len(texts.rows("test")) else "train"
    found_N = texts.rows(split).label_N
    counts = Counter({label: int((found_N == i).sum()) for i, label in enumerate(texts.labels)})
    refuse_unknown(str(source.path or source.name), +counts, artefact.labels, "--label-map {}")
    place_of = [artefact.labels.index(label) if label in artefact.labels else -1 for label in texts.labels]
    label_N = np.array(place_of)[found_N]
    device = _set_up(artefact)
    with memory_errors():
        rows, length_N = rows_of(ids for chunk in encode_ahead(artefact.tokenizer, texts.read(split)) for ids in chunk)
        rows = Rows(*(tensor.to(device) for tensor in rows))
        probability_NC = _probabilities(artefact, rows, length_N, device)
    evaluation = Evaluation(source.name, score(label_N, probability_NC, artefact.labels))
    _keep(run, f"data-{source.name}", evaluation, texts.ids(split), label_N, probability_NC, artefact.labels)
    return evaluation


def _set_up(artefact: Artefact) -> torch.device:
    device = _device_of(artefact.experiment.train.device)
    set_up(device, artefact.experiment.train.threads)
    return device


def _probabilities(
    artefact: Artefact, rows: Rows, length_N: NDArray[np.int64], device: torch.device
) -> NDArray[np.float64]:
    return class_probabilities(score_rows(artefact.model.to(device), rows, length_N, artefact.experiment.text))


def _keep(
    run: Path,
    name: str,
    evaluation: Evaluation,
    ids: list[str],
    label_N: NDArray[np.int64],
    probability_NC: NDArray[np.float64],
    labels: tuple[str, ...],
) -> None:
    """Write RUN/evaluation/NAME.json and NAME-predictions.jsonl, one line per row in its order."""
    lines = []
    for row_id, label, row in zip(ids, label_N.tolist(), probability_NC.tolist(), strict=True):
        answer = {"id": row_id, "label": labels[label], "probabilities": dict(zip(labels, row, strict=True))}
        lines.append(json.dumps(answer) + "\n")
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
    auc = "none" if scores.auc is None else f"{scores.auc:.4f}"
    console.result(
        f"loss {scores.loss:.4f}   F1 {scores.f1:.4f}   AUC {auc}   Brier {scores.brier:.4f}   ECE {scores.ece:.4f}"
    )
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
