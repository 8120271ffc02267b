"""Batches of rows that several threads compute at the same time."""

import os
import signal
import threading

import numpy as np
import pytest
from numpy.typing import NDArray

from sentiment_cli.data.batching.truncation import SavedTextLimits
from sentiment_cli.inference.scoring import score_ids
from sentiment_cli.storage.store import IntegrityError

READING = SavedTextLimits(None, "head", False, None)
ROWS = [np.full(length, length, np.int32) for length in np.random.default_rng(0).integers(1, 400, 60)]


class Asked:
    """A model whose output is a row's first id; it keeps how many rows each call had."""

    def __init__(self, meet: threading.Barrier | None = None) -> None:
        self.meet, self.rows = meet, list[int]()

    def __call__(self, ids_BL: NDArray[np.int64], length_B: NDArray[np.int64]) -> NDArray[np.float32]:
        self.rows.append(len(ids_BL))
        if self.meet is not None:
            self.meet.wait(60)  # none goes on before all are here
        first_B: NDArray[np.float32] = ids_BL[:, 0].astype(np.float32)
        return first_B


@pytest.mark.parametrize("n_threads", [1, 2, 3, 100])
def test_threads_change_neither_the_batches_nor_the_outputs(n_threads: int) -> None:
    alone, shared = Asked(), Asked()
    expected = score_ids(alone, ROWS, READING, 1)
    assert expected.tolist() == [float(row[0]) for row in ROWS]
    assert score_ids(shared, ROWS, READING, 1, n_threads=n_threads).tolist() == expected.tolist()
    assert sorted(shared.rows) == sorted(alone.rows)
    assert len(alone.rows) > 4


def test_two_batches_are_computed_at_the_same_time() -> None:
    model = Asked(threading.Barrier(2))
    rows = [np.full(1_500, i, np.int32) for i in range(4)]
    assert score_ids(model, rows, READING, 1, n_threads=2).tolist() == [0, 1, 2, 3]
    assert model.rows == [1, 1, 1, 1]


def test_urgent_rows_are_divided_among_the_threads() -> None:
    rows = [np.ones(100, np.int32)] * 8
    for n_threads, expected in ((1, [8]), (2, [4, 4]), (3, [2, 3, 3]), (8, [1] * 8), (100, [1] * 8)):
        model = Asked()
        score_ids(model, rows, READING, 1, n_threads=n_threads, is_urgent=True)
        assert sorted(model.rows) == expected
    assert score_ids(Asked(), [], READING, 1, n_threads=2, is_urgent=True).shape == (0,)


@pytest.mark.parametrize("is_helper", [True, False])
def test_an_error_in_any_thread_is_raised(is_helper: bool) -> None:
    caller, both, begun = threading.get_ident(), threading.Barrier(2), []

    def fails(ids_BL: NDArray[np.int64], length_B: NDArray[np.int64]) -> NDArray[np.float32]:
        begun.append(threading.get_ident())
        both.wait(60)
        is_wrong = (threading.get_ident() == caller) != is_helper
        return np.zeros(0 if is_wrong else len(ids_BL), np.float32)

    rows = [np.ones(1_500, np.int32)] * 2
    with pytest.raises(IntegrityError, match=r"answers with numbers of the shape \(0,\), where \(1,\) is meant"):
        score_ids(fails, rows, READING, 1, n_threads=2)
    assert len(begun) == 2


def test_no_batch_is_begun_after_an_error() -> None:
    begun = []

    def fails(ids_BL: NDArray[np.int64], length_B: NDArray[np.int64]) -> NDArray[np.float32]:
        begun.append(len(ids_BL))
        return np.zeros(0, np.float32)

    with pytest.raises(IntegrityError):
        score_ids(fails, [np.ones(1_500, np.int32)] * 20, READING, 1, n_threads=1)
    assert begun == [1]


def test_a_fork_computes_with_threads_of_its_own() -> None:
    expected = score_ids(Asked(), ROWS, READING, 1, n_threads=3)
    child = os.fork()
    if not child:
        signal.alarm(60)  # ends one that waits for threads that it has not
        try:
            os._exit(int(score_ids(Asked(), ROWS, READING, 1, n_threads=3).tolist() != expected.tolist()))
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
