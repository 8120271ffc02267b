"""Invariant 1 at random: 200 kills at any place and any time, resumed to the same bytes. Run with `make faults`."""

import random
import shutil
import signal
from pathlib import Path

import pytest
from killing import PLACES, leftovers, outcome, train, write_reviews

N_KILLS = 200


@pytest.mark.slow
def test_200_random_kills_resume_to_the_same_bytes(tmp_path: Path) -> None:
    write_reviews(tmp_path)
    assert train(tmp_path, "whole")[0] == 0
    expected = outcome(tmp_path / "runs" / "whole")
    draw, n_killed = random.Random(0), 0
    run = tmp_path / "runs" / "run"
    while n_killed < N_KILLS:
        place, at = draw.choice(sorted(PLACES)), draw.randint(1, 25)
        number = draw.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
        code, said = train(
            tmp_path, "run", resumed=(run / "experiment.yaml").exists(), place=place, at=at, send=(number,)
        )
        assert code in (0, -signal.SIGKILL, 128 + number), f"{place} {at} {number}: {said}"
        n_killed += code != 0
        if code == 0:
            assert outcome(run) == expected, f"{place} {at} {number}"
            assert leftovers(tmp_path) == []
        if code == 0 or not (run / "experiment.yaml").exists():
            shutil.rmtree(run, ignore_errors=True)
    if run.exists():
        assert train(tmp_path, "run", resumed=True)[0] == 0
        assert outcome(run) == expected
