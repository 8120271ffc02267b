"""Robustness case D06 of scoring: workers that die, refuse, hang up or hold another model."""

import os
import signal
import sys
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from sentiment_cli.data.tables.readers import Format
from sentiment_cli.errors import DataError, MachineError
from sentiment_cli.inference.batch import chunks, inputs, pool
from sentiment_cli.inference.batch.chunks import Chunk
from sentiment_cli.inference.batch.inputs import open_file
from sentiment_cli.inference.batch.predict_all import predict_all, write_answers
from sentiment_cli.inference.predictor import Predictor, open_predictor
from sentiment_cli.storage.store import IntegrityError

# A worker whose answers are its process id and the texts' lengths, and that does what some texts say.
FAKE = """
import os, signal, sys
from sentiment_cli.inference.batch.worker import receive, send
send(sys.stdout.buffer, {"model": "m"})
while True:
    try:
        texts = receive(sys.stdin.buffer)["texts"]
    except EOFError:
        break
    for text in texts:
        if text == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        if text.startswith("die once") and not os.path.exists(text[9:]):
            open(text[9:], "w").close()
            sys.exit(3)
        if text == "refuse":
            send(sys.stdout.buffer, {"error": "no", "hint": "sentiment doctor", "code": 3})
            sys.exit()
        if text == "few":
            texts = []
    own = ["pos", 0.75, [0.25, 0.75]], [os.getpid(), False, False, None, None]
    send(sys.stdout.buffer, {"answers": [own[0] + [len(text)] + own[1] for text in texts]})
"""


def asked(texts: list[list[str]]) -> Generator[Any, None, None]:
    for i, some in enumerate(texts):
        yield Chunk([10 * i + k for k in range(1, len(some) + 1)], some, []), None


def answers(texts: list[list[str]], n: int = 2, sha256: str = "m") -> list[Any]:
    processes = pool._Pool([sys.executable, "-c", FAKE], n, sha256)
    try:
        return [found for _, found in pool._in_order(processes, asked(texts), n, ("neg", "pos"))]
    finally:
        processes.end()


def test_answers_come_in_order_from_all_workers() -> None:
    texts = [["x" * (i + j) for j in range(i % 4)] for i in range(40)]
    found = answers(texts, 3)
    assert [[one.tokens for one in some] for some in found] == [[len(text) for text in some] for some in texts]
    assert len({one.unknown for some in found for one in some}) == 3
    assert found[1][0].probabilities == {"neg": 0.25, "pos": 0.75}


def test_d06_the_chunk_of_a_lost_worker_goes_to_another(tmp_path: Path, capsys) -> None:
    found = answers([["a"], ["b", f"die once {tmp_path / 'died'}"], ["c"]])
    assert [[one.text for one in some] for some in found] == [["a"], ["b", f"die once {tmp_path / 'died'}"], ["c"]]
    assert "a worker process ended with code 3; rows 11 to 12 are scored again" in capsys.readouterr().err


def test_d06_a_chunk_that_kills_three_workers_ends_the_work_with_its_rows() -> None:
    with pytest.raises(MachineError, match=r"3 worker processes ended while they scored rows 11 to 12: .* signal 9"):
        answers([["a"], ["b", "die"], ["c"]])


def test_d06_what_a_worker_refuses_is_an_error_of_the_same_kind() -> None:
    with pytest.raises(DataError, match="no") as caught:
        answers([["a"], ["refuse"], ["c"]])
    assert caught.value.hint == "sentiment doctor"


def test_d06_a_worker_with_another_model_or_too_few_answers_is_refused() -> None:
    with pytest.raises(IntegrityError, match="the model has changed since the work began"):
        answers([["a"]], sha256="other")
    with pytest.raises(IntegrityError, match="0 answers to 1 texts"):
        answers([["few"]])


def test_workers_end_with_the_work() -> None:
    processes = pool._Pool([sys.executable, "-c", FAKE], 2, "m")
    answered = pool._in_order(processes, asked([["a"], ["b"], ["c"], ["d"]]), 2, ("neg", "pos"))
    first = next(answered)
    pids = [one._process.pid for one in processes._workers if one._process is not None]
    assert first[1][0].unknown in pids
    answered.close()
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


@pytest.fixture
def quick(quick_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Predictor:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(chunks, "ROWS_AT_ONCE", 8)
    monkeypatch.setattr(inputs, "ROWS_AT_ONCE", 8)
    rows = [f'{i},"the film was {word}, {word} and {i}"\n' for i, word in enumerate(["good", "bad", "fine"] * 20)]
    (tmp_path / "in.csv").write_text("id,text\n" + "".join(rows))
    return open_predictor(quick_run)


def test_d06_real_workers_that_die_after_each_chunk_give_the_bytes_of_one_process(
    quick: Predictor, quick_run: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    source = open_file(Path("in.csv"), None, "stop", Format())
    predict_all(quick, source, "csv", Path("one.csv"))
    monkeypatch.setenv("SENTIMENT_FAIL", "worker:5:kill")  # of each process its fifth chunk
    with pool.workers(quick_run, 1, quick.model.files.sha256, quick.labels) as answering:
        write_answers(quick, answering, source, "csv", Path("two.csv"), on_error="stop", is_safe=True)
    assert Path("one.csv").read_bytes() == Path("two.csv").read_bytes()
    assert "a worker process was ended by signal 9; rows 33 to 40 are scored again" in capsys.readouterr().err


def test_a_thread_gives_the_bits_of_several(quick: Predictor, quick_run: Path) -> None:
    texts = [f"a good film {'and long ' * i}" for i in range(30)]
    assert open_predictor(quick_run, n_threads=1).predict(texts) == quick.predict(texts)


def test_d06_the_signal_of_the_terminal_is_the_parent_s(quick: Predictor, quick_run: Path) -> None:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job starts with it ignored
    try:
        with pool.workers(quick_run, 1, quick.model.files.sha256, quick.labels) as answering:
            items = answering(asked([["good"], ["bad"]]))
            assert next(items)[1][0].text == "good"
            assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
            assert next(items)[1][0].text == "bad"
    finally:
        signal.signal(signal.SIGINT, before)
