"""How the logits of cross-fitted linear models on training rows differ from those of the whole model on other rows.

    python benchmarks/cross_fitting.py
    python benchmarks/cross_fitting.py my.yaml --set model.wide.folds=10

A network with `model.wide` learns from the first and predicts with the second. One line for each: standard deviation,
accuracy, log loss, and the factor of the logits that gives the lowest loss, with that loss.
"""

import argparse

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from sentiment_cli.config.loader import load_experiment
from sentiment_cli.config.schema import Experiment
from sentiment_cli.data.batching.batches import gather, rows_on
from sentiment_cli.data.batching.truncation import cut_batches, read_lengths
from sentiment_cli.data.corpus.fit_settings import settle
from sentiment_cli.data.corpus.packed import Packed
from sentiment_cli.models.classifier import Classifier, build_classifier
from sentiment_cli.models.wide import WidePart
from sentiment_cli.training.tasks.cross_fitting import cross_fit, row_folds
from sentiment_cli.training.tasks.table import prepare_for

SETTINGS = ["model.wide.use=skip", *(f"model.linear.{key}=null" for key in ("min_count", "penalty"))]
BATCH_TOKENS = 32_768


@torch.inference_mode()
def logits_of(wide: WidePart, packed: Packed, fold_N: NDArray[np.int64] | None, experiment: Experiment) -> torch.Tensor:
    rows, read_N = rows_on(torch.device("cpu"), packed), read_lengths(packed.length_N, experiment.text)
    logits = torch.zeros(len(read_N), wide.linear.n_logits)
    for row_B in cut_batches(np.argsort(read_N, kind="stable"), read_N, BATCH_TOKENS):
        batch = gather(rows, torch.from_numpy(row_B), int(read_N[row_B].max()), experiment.text)
        fold_B = None if fold_N is None else torch.from_numpy(fold_N[row_B])
        _, added = wide(batch.ids_BL, batch.length_B, fold_B)
        assert added is not None
        logits[torch.from_numpy(row_B)] = added.view(len(row_B), -1)
    return logits.double()


def print_scores(name: str, logit_NC: torch.Tensor, packed: Packed) -> None:
    label_N = torch.from_numpy(packed.label_N)
    full_NC = F.pad(logit_NC, (1, 0)) if logit_NC.shape[1] == 1 else logit_NC

    def loss(factor: float) -> float:
        return float(F.cross_entropy(factor * full_NC, label_N))

    best = min(np.arange(0.1, 3.0, 0.02), key=loss)
    accuracy = (full_NC.argmax(1) == label_N).double().mean()
    print(
        f"{name:<34} {logit_NC.std():8.3f} {accuracy:9.4f} {loss(1.0):8.4f} {best:6.2f} {loss(float(best)):8.4f}",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("experiment", nargs="?", default="lstm-bi")
    parser.add_argument("--set", action="append", default=[], dest="settings", metavar="KEY=VALUE")
    arguments = parser.parse_args()
    experiment = settle(load_experiment(arguments.experiment, [*SETTINGS, *arguments.settings]), is_said=True)
    corpus = prepare_for(experiment)
    model = build_classifier(experiment, corpus.vocabulary, len(corpus.labels))
    assert isinstance(model, Classifier)
    assert model.wide is not None
    cross_fit(experiment, corpus, is_refit=False).install(model.wide)
    train, valid = corpus.split("train"), corpus.split("valid")
    print(f"{'rows, and the model they read':<34} {'std':>8} {'accuracy':>9} {'loss':>8} {'factor':>6} {'loss':>8}")
    lines = [
        ("training, without their fold", train, row_folds(train, experiment)),
        ("validation, of all training rows", valid, None),
        ("validation, without fold 1", valid, np.ones(len(valid.label_N), dtype=np.int64)),
        ("training, of all training rows", train, None),
    ]
    for name, packed, fold_N in lines:
        print_scores(name, logits_of(model.wide, packed, fold_N, experiment), packed)


if __name__ == "__main__":
    main()
