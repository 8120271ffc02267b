"""A signal at every moment of a training of several processes, by failpoints: all exit, and nothing is lost.

Robustness cases D05 (a signal to one process or to the launcher stops all) and A24 (a launcher that is killed).
"""

import shutil
import signal
from pathlib import Path
from types import SimpleNamespace

import pytest
from killing import leftovers, outcome, train, train_together, write_reviews

from sentiment_cli.training.processes.distributed import Group
from sentiment_cli.training.processes.signals import Stop, StopNow
from sentiment_cli.training.state import TrainState

# Where both processes (or, after @, one) get a signal; the step that is then saved: 0 where no run is begun, None where
# it depends on which of them hears of it first.
BOTH = [
    ("join:1:term", 0),
    ("prepare:1:term", 0),
    ("model:1:term", 0),
    ("after collective:12:term", None),
    ("after collective:13:term", None),
    ("after collective:14:int", None),
    ("after collective:15:term", None),
    ("save:1:term", None),
    ("validate:1:term", 4),
    ("finish:1:term", 8),
]
ONE = [
    ("prepare:1:term@0", 0),
    ("prepare:1:int@1", 0),
    ("model:1:term@0", 0),
    ("collective:11:term@1", None),
    ("after collective:12:term@1", None),
    ("save:1:term@1", None),
    ("validate:1:term@1", 4),
    ("finish:1:term@0", 8),
]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("stops")
    write_reviews(root)
    code, said = train(root, "alone")
    assert code == 0, said
    return root


@pytest.mark.parametrize(("fail", "step"), [*BOTH, *ONE])
def test_every_process_exits_at_a_signal_and_the_run_resumes_to_the_same_bytes(
    root: Path, fail: str, step: int | None
) -> None:
    (code, said), (other, quiet) = train_together(root, "stopped", fail=fail)
    number = signal.SIGINT if ":int" in fail else signal.SIGTERM
    assert code in (128 + number, -number), said
    assert other in (128 + number, -number, 4), quiet  # 4: it missed the first one, which is the one that speaks
    assert "Traceback" not in said + quiet
    assert quiet == ""
    run = root / "runs" / "stopped"
    if step == 0:
        assert not run.exists()
        return
    saved = sorted(path.name for path in (run / "checkpoints").iterdir())
    if step is not None:
        assert saved[-1] == f"step-{step:08}"
    assert leftovers(root) == []
    code, said = train(root, "stopped", resumed=True)
    assert code == 0, said
    assert outcome(run) == outcome(root / "runs" / "alone")
    shutil.rmtree(run)


def test_a_signal_during_an_agreement_counts_at_the_next_one() -> None:
    stop = Stop(is_launched=True)

    class Agreeing(Group):
        def all_reduce_max(self, *numbers: int) -> tuple[int, ...]:
            stop.take(signal.SIGTERM, None)
            return numbers

    state = SimpleNamespace(job=SimpleNamespace(stop=stop, group=Agreeing()))
    assert not TrainState.agree(state).stops  # type: ignore[arg-type]
    assert TrainState.agree(state).stops  # type: ignore[arg-type]


def test_a_launched_process_ignores_a_second_signal() -> None:
    """A service manager may send one signal to the launcher, which passes it on, and to its processes."""
    launched, alone = Stop(is_launched=True), Stop()
    for stop in (launched, alone):
        stop.take(signal.SIGINT, None)
    launched.take(signal.SIGINT, None)
    assert not launched.twice
    with pytest.raises(StopNow):
        alone.take(signal.SIGINT, None)
    assert alone.twice


def test_a_second_signal_does_not_break_the_cleanup_after_the_first() -> None:
    stop, tidied = Stop(is_launched=True), []
    with pytest.raises(StopNow), stop.at_once():
        try:
            stop.take(signal.SIGTERM, None)
        finally:
            stop.take(signal.SIGTERM, None)
            tidied.append("all")
    assert tidied == ["all"]
