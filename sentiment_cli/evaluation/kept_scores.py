"""Scores and predictions in RUN/evaluation/: written under a free name, and removed with the model that they are of."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sentiment_cli.data.corpus.ratings import ratings_of
from sentiment_cli.evaluation.scoring import ScoredSplit
from sentiment_cli.inference.predictor import decide, given_labels, probabilities_of
from sentiment_cli.runs.directory import is_run
from sentiment_cli.runs.ensemble_model import SavedModel
from sentiment_cli.runs.files import predictions_paths, scores_name, scores_paths
from sentiment_cli.runs.predictions import write_predictions
from sentiment_cli.runs.records import read_scores
from sentiment_cli.runs.seals import write_result
from sentiment_cli.storage import store


def keep_evaluation(
    run: Path,
    name: str,
    scores: dict[str, Any],
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
        rows = probabilities_of(output / model.temperature, model.target).tolist()
        said = _said(output / model.temperature, model)
        answers = [
            {"probabilities": dict(zip(labels, row, strict=True))} | one for row, one in zip(rows, said, strict=True)
        ]
    true_labels: list[str | list[str]]
    if (sets_KC := scored.packed.sets_KC) is not None:
        names = [[label for label, is_in in zip(labels, of_row, strict=True) if is_in] for of_row in sets_KC.tolist()]
        true_labels = [names[number] for number in scored.packed.label_N.tolist()]
    else:
        true_labels = [labels[label] for label in scored.packed.label_N.tolist()]
    about = {"run": run.name, "texts": scored.texts, "trained_on": is_learnt, **scores}
    write_predictions(run, name, scored.ids, true_labels, answers)
    write_result(run, scores_name(name), store.dump_json(about))


def _said(output: NDArray[np.float64], model: SavedModel) -> list[dict[str, Any]]:
    """Return what is predicted of each row, where that need not be the likeliest label."""
    probability_NC = probabilities_of(output, model.target)
    if model.target == "multilabel":
        given_NC = given_labels(probability_NC, model.threshold_C).tolist()
        return [
            {"predicted": [name for name, is_in in zip(model.labels, row, strict=True) if is_in]} for row in given_NC
        ]
    if model.target == "label" and model.threshold_C is None:
        return [{}] * len(output)
    return [{"predicted": model.labels[i]} for i in decide(probability_NC, model.target, model.threshold_C).tolist()]


def discard_scores(run: Path) -> None:
    """Remove scores and predictions of an earlier model of a resumed run; the ledger stays."""
    for path in (*scores_paths(run), *predictions_paths(run)):
        store.remove_file(path)


def free_name(run: Path, name: str, fingerprint: str) -> str:
    """Return the name to keep scores of some rows under: one that is not taken by the scores of others."""
    path = run / scores_name(name)
    is_taken = is_run(run) and store.is_there(path) and read_scores(path).get("texts", fingerprint) != fingerprint
    return f"{name}-{fingerprint[-8:]}" if is_taken else name
