"""Which rows a pretraining on reviews reads, and which it is validated on."""

import itertools

import numpy as np
from numpy.typing import NDArray

from sentiment_cli.config.schema import Experiment
from sentiment_cli.data.corpus import Corpus, Packed
from sentiment_cli.data.splits import held_out
from sentiment_cli.errors import DataError
from sentiment_cli.training.material import join_rows, select_rows

SPLITS = ("train", "valid", "unsup")


def reading_rows(corpus: Corpus, experiment: Experiment) -> tuple[Packed, list[str]]:
    """Return the rows that pretraining reads, with their ids: training rows, and unlabelled ones not validated on."""
    if "unsup" not in corpus.directories:
        return corpus.split("train"), corpus.ids("train")
    unsup = corpus.split("unsup")
    is_read_N = ~_hold_out(unsup, experiment)
    packed = join_rows(corpus.split("train"), select_rows(unsup, is_read_N))
    return packed, corpus.ids("train") + list(itertools.compress(corpus.ids("unsup"), is_read_N))


def held_out_rows(corpus: Corpus, experiment: Experiment) -> Packed:
    """Return the rows that pretraining is validated on: some unlabelled ones, or, where none are, validation's.

    Raises DataError where they hold no token.
    """
    if "unsup" not in corpus.directories:
        packed, setting = corpus.split("valid"), "share"
    else:
        unsup, setting = corpus.split("unsup"), "unsup_share"
        packed = select_rows(unsup, _hold_out(unsup, experiment))
    if not len(packed.ids_T):
        raise DataError(
            f"the rows that the pretraining is validated on, {len(packed.label_N)}, hold no token",
            f"--set data.valid.{setting}=0.2",
        )
    return packed


def _hold_out(unsup: Packed, experiment: Experiment) -> NDArray[np.bool_]:
    """Mark the unlabelled rows that are validated on; all rows of a movie, where theirs are known."""
    valid = experiment.data.valid
    by = "row" if valid.by == "row" else "auto"  # labelled rows may have groups where unlabelled ones have none
    return held_out(np.zeros_like(unsup.label_N), unsup.group_N, by, valid.unsup_share, valid.seed)
