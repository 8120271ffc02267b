"""Class weights: how much a row counts in the training loss by its label (train.class_weight)."""

import json

import numpy as np
from numpy.typing import NDArray

from sentiment_cli.config.schema import Experiment
from sentiment_cli.config.values import label_weights
from sentiment_cli.data.corpus.packed import Corpus
from sentiment_cli.data.corpus.targets import count_labels
from sentiment_cli.errors import Change, UsageError


def class_weights(experiment: Experiment, corpus: Corpus, label_N: NDArray[np.int64]) -> NDArray[np.float64] | None:
    """Return weight_C1, of a row by its label, or of several labels weight_C2: of a no and of a yes; None without any.

    balanced gives every label (every no and every yes) the same weight in all, as scikit-learn's does. The weights are
    scaled to a mean of 1 over the rows, so that learning rates and penalties keep their meaning. Raises UsageError for
    a weight of a label that there is not.
    """
    setting = experiment.train.class_weight
    assert setting is not None  # where it follows from the data, `fit_settings` has set it
    if setting == "none":
        return None
    count_C = count_labels(label_N, len(corpus.labels), corpus.sets_KC).astype(np.float64)
    is_several = corpus.sets_KC is not None
    count_CJ = np.stack([len(label_N) - count_C, count_C], axis=1) if is_several else count_C[:, None]
    if isinstance(setting, str):
        weight_CJ = 1 / np.maximum(count_CJ, 1)
    else:
        given = label_weights(setting)
        if unknown := [label for label in given if label not in corpus.labels]:
            kept = {label: weight for label, weight in given.items() if label not in unknown}
            raise UsageError(
                f"train.class_weight names {', '.join(map(repr, unknown))}, and the labels are "
                f"{', '.join(map(repr, corpus.labels))}",
                Change("--set", f"train.class_weight={json.dumps(kept, ensure_ascii=False) if kept else 'balanced'}"),
            )
        weight_CJ = np.ones_like(count_CJ)
        weight_CJ[:, -1] = [given.get(label, 1.0) for label in corpus.labels]
    axis = 1 if is_several else None
    mean = (weight_CJ * count_CJ).sum(axis=axis, keepdims=True) / count_CJ.sum(axis=axis, keepdims=True)
    return np.asarray(weight_CJ / mean)
