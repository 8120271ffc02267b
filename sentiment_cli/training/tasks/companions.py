"""What batches of labelled rows have beside them for the terms of an objective: ramp, star ratings, unlabelled rows."""

import itertools
from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sentiment_cli.config.commands import reset
from sentiment_cli.config.schema import Experiment
from sentiment_cli.data.batching.batches import Batch, Plan, gather, plan_steps, rows_on
from sentiment_cli.data.batching.truncation import trained_lengths
from sentiment_cli.data.corpus.packed import Corpus, Packed
from sentiment_cli.data.corpus.ratings import MIDDLE, REACH
from sentiment_cli.errors import Change, UsageError

_UNLABELLED = 1  # the draws of unlabelled rows, beside the seed and the epoch


def reads_unlabelled(experiment: Experiment) -> bool:
    """Return whether an objective reads unlabelled rows."""
    virtual = experiment.objective.virtual
    return virtual.weight > 0 and virtual.rows != "train"


def check_companions(experiment: Experiment, corpus: Corpus) -> None:
    """Raise UsageError where an objective reads unlabelled rows, or star ratings, and there are none."""
    if reads_unlabelled(experiment) and ("unsup" not in corpus.directories or not corpus.split("unsup").length_N.any()):
        raise UsageError(
            f"objective.virtual.rows is {experiment.objective.virtual.rows}, and {experiment.data.source} has no "
            "unlabelled rows that are not in test",
            Change("--set", "objective.virtual.rows=train"),
        )
    stars = experiment.objective.stars
    for key in ("weight", "smoothing"):
        if getattr(stars, key) and not (corpus.split("train").stars_N > 0).any():
            raise UsageError(
                f"objective.stars.{key} is {getattr(stars, key)}, and no training row of {experiment.data.source} has "
                "a star rating: IMDb, the sample and what is laid out as IMDb is have them",
                reset(experiment, "objective.stars"),
            )


def softened_labels(packed: Packed, n_labels: int, smoothing: float) -> Tensor:
    """Return truth_N, or truth_NC, with label smoothing by rating: none at 1 and 10 stars, `smoothing` at 5.5.

    A label of a row without a rating is not smoothed.
    """
    share_N = smoothing * (1 - np.abs(packed.stars_N - MIDDLE) / REACH) * (packed.stars_N > 0)
    truth_NC = np.eye(n_labels, dtype=np.float32)[packed.label_N] * (1 - share_N[:, None]) + share_N[:, None] / n_labels
    truth = torch.from_numpy(truth_NC.astype(np.float32))
    return truth[:, 1].contiguous() if n_labels == 2 else truth


def accompany(
    batches: Iterator[Batch], experiment: Experiment, corpus: Corpus, read_N: NDArray[np.int64], plan: Plan, start: int
) -> Iterator[Batch]:
    """Yield the batches of a plan from step `start` on, with the step's ramp and unlabelled rows."""
    n_ramp = experiment.objective.ramp * plan.epoch_ends[0]
    others = _unlabelled(experiment, corpus, read_N, start) if reads_unlabelled(experiment) else None
    for step, batch in enumerate(batches, start):
        device = batch.ids_BL.device
        if n_ramp:
            batch = batch._replace(ramp_B=torch.full((len(batch.length_B),), min(1.0, step / n_ramp), device=device))
        if others is not None:
            ids_BL, length_B = next(others)
            batch = batch._replace(unlabelled_BL=ids_BL.to(device), unlabelled_length_B=length_B.to(device))
        yield batch


def _unlabelled(
    experiment: Experiment, corpus: Corpus, read_N: NDArray[np.int64], start: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the ids and lengths of the unlabelled rows of each step: as many as it has labelled ones."""
    packed = corpus.split("unsup")
    rows, unlabelled_N = rows_on(torch.device("cpu"), packed), trained_lengths(packed.length_N, experiment.text)
    for row_B in pair_rows(experiment, read_N, unlabelled_N)[start:]:
        found = gather(rows, torch.from_numpy(row_B), int(unlabelled_N[row_B].max()), experiment.text)
        yield found.ids_BL, found.length_B


def pair_rows(
    experiment: Experiment, read_N: NDArray[np.int64], unlabelled_N: NDArray[np.int64]
) -> list[NDArray[np.int64]]:
    """Return the unlabelled rows of each step of all epochs, from the lengths that are read of both kinds of rows.

    An epoch draws as many as it has labelled rows, each of them once where there are enough. A labelled row gets the
    unlabelled one of the same rank by length, so that a batch of these is about as wide as the labelled one. A pure
    function of its arguments; train.max_steps cuts it off.
    """
    plan = plan_steps(read_N, experiment.train.model_copy(update={"max_steps": None}), experiment.seed)
    known_N, found = np.flatnonzero(unlabelled_N), list[NDArray[np.int64]]()
    for epoch, (begin, end) in enumerate(itertools.pairwise([0, *plan.epoch_ends])):
        generator, n_rows = (
            np.random.default_rng((experiment.seed, epoch, _UNLABELLED)),
            sum(map(len, plan.rows[begin:end])),
        )
        row_N = np.resize(generator.permutation(known_N), n_rows)
        row_N = row_N[np.argsort(unlabelled_N[row_N], kind="stable")]
        own_N = np.concatenate(plan.rows[begin:end])
        paired_N = np.empty_like(row_N)
        paired_N[np.argsort(read_N[own_N], kind="stable")] = row_N
        found += np.split(paired_N, np.cumsum([len(row_B) for row_B in plan.rows[begin : end - 1]]))
    return found
