"""What is learnt of a row's label (data.target), as the numbers that a model puts out.

    label       logit_N of the second of two labels, or logit_NC: one label a row
    multilabel  logit_NC, a yes or no for each label: any number of labels a row
    ordinal     logit_NC of the labels but the lowest: whether the row's rank is at least this one's (Frank & Hall 2001;
                by a network Cheng, Wang & Pollastri 2008)
    stars       one number, see `ratings`

Of multilabel and ordinal each output is the log-odds of one yes or no: losses, temperature scaling and ensembles read
the outputs of a row as that many binary rows (`as_binary`).
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

TargetName = Literal["label", "multilabel", "ordinal", "stars"]
_UNBALANCED = 1.5  # times the mean of the other labels' rows: 60 of 100 rows are of one of two labels


def is_binary(target: TargetName) -> bool:
    """Return whether each output is the log-odds of a yes or no of its own."""
    return target in ("multilabel", "ordinal")


def n_outputs(target: TargetName, n_labels: int) -> int:
    """Return how many numbers a model puts out per row."""
    if target == "multilabel":
        return n_labels
    if target == "ordinal":
        return n_labels - 1
    return 1 if n_labels == 2 or target == "stars" else n_labels


def codes_of(target: TargetName, n_labels: int, sets_KC: NDArray[np.bool_] | None) -> NDArray[np.bool_] | None:
    """Return code_KC: the yes and no of each value of label_N; None where the label itself is learnt.

    `sets_KC` are the label sets that label_N numbers where rows have several labels.
    """
    if target == "ordinal":
        return np.tri(n_labels, n_labels - 1, -1, dtype=np.bool_)
    return sets_KC if target == "multilabel" else None


def as_binary(
    logits: NDArray[np.float64],
    label_N: NDArray[np.int64],
    target: TargetName,
    sets_KC: NDArray[np.bool_] | None = None,
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return logits and labels as one yes or no each; those of single labels as they are."""
    if not is_binary(target):
        return logits, label_N
    code_KC = codes_of(target, logits.shape[1] + 1, sets_KC)
    assert code_KC is not None
    return logits.ravel(), code_KC[label_N].ravel().astype(np.int64)


def sigmoid(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the probability of a yes from its log-odds, without overflow."""
    probability: NDArray[np.float64] = 0.5 * (1.0 + np.tanh(0.5 * logits))
    return probability


def rank_probabilities(logit_NC: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the probability of each rank from the log-odds that the rank is at least the second, the third, and so on.

    They are learnt one by one, so that they may rise from one rank to the next; each is then lowered to the one before.
    """
    above_NC = np.minimum.accumulate(sigmoid(logit_NC), axis=1)
    edge_N1 = np.ones((len(above_NC), 1))
    return np.asarray(-np.diff(np.concatenate([edge_N1, above_NC, 0 * edge_N1], axis=1), axis=1))


def count_labels(label_N: NDArray[np.integer], n_labels: int, sets_KC: NDArray[np.bool_] | None) -> NDArray[np.int64]:
    """Count the rows of each label; -1 in label_N is none."""
    if sets_KC is None:
        return np.bincount(label_N[label_N >= 0], minlength=n_labels)
    count_K = np.bincount(label_N[label_N >= 0], minlength=len(sets_KC))
    return np.asarray(count_K @ sets_KC.astype(np.int64))


def strata_of(label_N: NDArray[np.integer], n_labels: int, sets_KC: NDArray[np.bool_] | None) -> NDArray[np.integer]:
    """Return what rows are held out by: their label; of several the one with the fewest rows, or one more for none.

    Taking the rarest label first is what iterative stratification does (Sechidis, Tsoumakas & Vlahavas 2011).
    """
    if sets_KC is None:
        return label_N
    count_C = count_labels(label_N, n_labels, sets_KC)
    cost_KC = np.where(sets_KC, count_C, np.iinfo(np.int64).max)
    stratum_K = np.where(sets_KC.any(axis=1), cost_KC.argmin(axis=1), n_labels)
    return np.asarray(stratum_K[label_N])


def is_unbalanced(counts: Sequence[int]) -> bool:
    """Return whether the commonest label has 1.5 times the rows that the others have on average."""
    most, n_others = max(counts, default=0), len(counts) - 1
    return n_others > 0 and most * n_others >= _UNBALANCED * (sum(counts) - most)
