"""A run on a split: scores and predictions, printed and kept with the run."""

import json
from pathlib import Path

import torch

from sentiment_cli import console, store
from sentiment_cli.data.batches import rows_on
from sentiment_cli.data.corpus import Packed, prepare
from sentiment_cli.errors import UsageError
from sentiment_cli.evaluation.metrics import Scores, score
from sentiment_cli.inference.artefact import load_artefact
from sentiment_cli.inference.predictor import class_probabilities, score_rows
from sentiment_cli.models.device import memory_errors, select_device, set_up


def evaluate(run: Path, split: str) -> Scores:
    """Score a run on a split of the corpus it was trained on; keep scores and predictions in RUN/evaluation/.

    Raises DataError where the corpus at hand is not the one the run was trained on.
    """
    artefact = load_artefact(run)
    corpus = prepare(artefact.experiment, (split,), artefact.data_key)
    packed = corpus.split(split)
    device = _device_of(artefact.experiment.train.device)
    set_up(device, artefact.experiment.train.threads)
    with memory_errors():
        rows = rows_on(device, packed)
        logits = score_rows(artefact.model.to(device), rows, packed.length_N, artefact.experiment.text)
    probability_NC = class_probabilities(logits)
    scores = score(packed.label_N, probability_NC, corpus.labels)
    lines = _prediction_lines(corpus.ids(split), packed, probability_NC.tolist(), corpus.labels)
    store.write_file(run / "evaluation" / f"{split}-predictions.jsonl", "".join(lines).encode())
    store.write_file(
        run / "evaluation" / f"{split}.json",
        store.dump_json({"run": run.name, "split": split, **scores.to_json()}),
    )
    return scores


def print_scores(scores: Scores, labels: tuple[str, ...]) -> None:
    """Print scores for a reader, accuracy first."""
    low, high = scores.accuracy_ci95
    console.result(f"accuracy {scores.accuracy:.2%}   95 % interval {low:.2%} to {high:.2%}   n {scores.n:,}")
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


def _prediction_lines(
    ids: list[str], packed: Packed, probability_NC: list[list[float]], labels: tuple[str, ...]
) -> list[str]:
    lines = []
    for name, label, row in zip(ids, packed.label_N.tolist(), probability_NC, strict=True):
        answer = {
            "id": name,
            "label": labels[label],
            "probabilities": dict(zip(labels, row, strict=True)),
        }
        lines.append(json.dumps(answer) + "\n")
    return lines
