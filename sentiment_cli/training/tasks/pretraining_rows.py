"""The rows that a pretraining reads, and the held-out rows that it is validated on."""

import itertools
import shlex

import numpy as np
from numpy.typing import NDArray

from sentiment_cli.config.schema import Experiment, Valid
from sentiment_cli.data.corpus.packed import Corpus, Packed, join_rows, select_rows
from sentiment_cli.data.corpus.splits import held_out
from sentiment_cli.errors import Change, DataError

PRETRAINING_SPLITS = ("train", "valid", "unsup")


def reading_rows(corpus: Corpus, experiment: Experiment) -> tuple[Packed, list[str]]:
    """Return the rows that pretraining reads, with their ids: training rows, and unlabelled rows not held out.

    Raises DataError as held_out_rows does, before anything is read.
    """
    held_out_rows(corpus, experiment)
    if "unsup" not in corpus.directories:
        return corpus.split("train"), corpus.ids("train")
    unsup = corpus.split("unsup")
    is_read_N = ~_hold_out(unsup, experiment.data.valid)
    packed = join_rows(corpus.split("train"), select_rows(unsup, is_read_N))
    return packed, corpus.ids("train") + list(itertools.compress(corpus.ids("unsup"), is_read_N))


def held_out_rows(corpus: Corpus, experiment: Experiment) -> Packed:
    """Return the rows that pretraining is validated on: held-out unlabelled rows, or the validation rows without any.

    Raises DataError where they have no word of the vocabulary; its hint is a share that has one, if there is any.
    """
    valid, least = experiment.data.valid, corpus.vocabulary.specials
    packed = _held_out(corpus, valid)
    if (packed.ids_T >= least).any():
        return packed
    shares = (0.1, 0.2, 0.5, 0.9) if "unsup" in corpus.directories else ()
    tried = ((share, _held_out(corpus, valid.model_copy(update={"unsup_share": share}))) for share in shares)
    hints = (Change("--set", f"data.valid.unsup_share={share}") for share, rows in tried if (rows.ids_T >= least).any())
    raise DataError(
        f"the rows that the pretraining is validated on, {len(packed.label_N)}, hold no word of the vocabulary",
        next(hints, f"sentiment data check --set data.source={shlex.quote(experiment.data.source)}"),
    )


def _held_out(corpus: Corpus, valid: Valid) -> Packed:
    if "unsup" not in corpus.directories:
        return corpus.split("valid")
    unsup = corpus.split("unsup")
    return select_rows(unsup, _hold_out(unsup, valid))


def _hold_out(unsup: Packed, valid: Valid) -> NDArray[np.bool_]:
    """Return a mask of the held-out unlabelled rows; rows of one movie stay together where movies are known."""
    by = "row" if valid.by == "row" else "auto"  # labelled rows may have groups where unlabelled ones have none
    return held_out(np.zeros_like(unsup.label_N), unsup.group_N, by, valid.unsup_share, valid.seed)
