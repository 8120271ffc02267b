"""Robustness case D08: sweeps whose coordinator or children are killed lose nothing and do nothing twice.

Most cases have a child that takes no time: it writes the files of a run, and its figures follow from the settings.
"""

import csv
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from sentiment_cli.config.sweeps import Sweep, load_sweep
from sentiment_cli.errors import DataError, InterruptedRun, MachineError, UsageError
from sentiment_cli.runs.files import METRICS_LOG
from sentiment_cli.training.processes import launching
from sentiment_cli.workflows.tuning import sweep as sweep_module
from sentiment_cli.workflows.tuning.choosing import grid_of, importances, is_pruned, next_values
from sentiment_cli.workflows.tuning.sweep import run_sweep
from sentiment_cli.workflows.tuning.trials import Trial, read_trials

FAKE = """
import fcntl, json, os, signal, sys
from pathlib import Path
runs, words = Path(os.environ["SENTIMENT_RUNS"]), sys.argv[1:]
resumed = "--resume" in words
run = runs / words[words.index("--resume" if resumed else "--name") + 1]
if not resumed:
    run.mkdir(parents=True)
    pairs = dict(words[i + 1].split("=", 1) for i, word in enumerate(words) if word == "--set")
    base = Path(words[1]).read_text().splitlines()
    kept = [line for line in base if line.split(":")[0].strip() not in ("dropout", "width")]
    out = []
    for line in base:
        key = line.split(":")[0].strip()
        if key == "dropout" and line.startswith("  dropout") and "model.dropout" in pairs:
            line = "  dropout: " + pairs["model.dropout"]
        if key == "width" and "model.encoder.width" in pairs and out and "encoder:" in "".join(out[-4:]):
            line = line.split("width")[0] + "width: " + pairs["model.encoder.width"]
        out.append(line)
    (run / "experiment.yaml").write_text("\\n".join(out) + "\\n")
    (run / "pairs").write_text(json.dumps(pairs))
lock = os.open(run, os.O_RDONLY)
fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
(run / "starts").open("a").write("x")
pairs = json.loads((run / "pairs").read_text())
dropout, width = float(pairs["model.dropout"]), float(pairs.get("model.encoder.width", 8))
code = os.environ.get("FAKE_CODE")
if code and dropout > 0.5:
    print("error: as asked", file=sys.stderr)
    sys.exit(int(code))
done = (run / "metrics.jsonl").read_text().count("\\n") if (run / "metrics.jsonl").exists() else 0
for epoch in range(done + 1, 4):
    value = (1 - dropout) * epoch / 3 + width / 1000
    with (run / "metrics.jsonl").open("a") as log:
        log.write(json.dumps({"epoch": epoch, "valid_accuracy": value}) + "\\n")
    once = os.environ.get("FAKE_DIES")
    if once and epoch == 2 and not os.path.exists(once):
        open(once, "w").close()
        os.kill(os.getpid(), signal.SIGKILL)
(run / "summary.json").write_text(json.dumps({"status": "finished", "valid": {"accuracy": value}}))
"""
PROGRAM = (sys.executable, "-c", FAKE)
GRID = """tune: sample
search: {model.dropout: [0.1, 0.2, 0.3], model.encoder.width: [8, 16]}
method: grid
prune: none
monitor: accuracy
"""


def sweep_of(text: str = GRID) -> Sweep:
    return load_sweep(Path("grid.yaml"), text.encode(), [])


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sweep_module, "_SECONDS_BETWEEN_LOOKS", 0.01)


def outcome(directory: Path) -> list[dict[str, str]]:
    """Return the rows of trials.csv without times."""
    with (directory / "trials.csv").open() as file:
        return [{key: value for key, value in row.items() if key != "seconds"} for row in csv.DictReader(file)]


def starts(directory: Path) -> list[int]:
    return [len(path.read_text()) for path in sorted(directory.glob("trials/*/starts"))]


@pytest.fixture
def unbroken(tmp_path: Path) -> list[dict[str, str]]:
    run_sweep(sweep_of(), Path("unbroken"), program=PROGRAM)
    assert starts(Path("unbroken")) == [1] * 6
    return outcome(Path("unbroken"))


def test_a_grid_has_each_point_once_and_keeps_the_best(unbroken: list[dict[str, str]]) -> None:
    points = {(row["model.dropout"], row["model.encoder.width"]) for row in unbroken}
    assert points == {(d, w) for d in ("0.1", "0.2", "0.3") for w in ("8", "16")}
    assert all(row["state"] == "complete" and row["epochs"] == "3" for row in unbroken)
    best = Path("unbroken/best.yaml").read_text()
    assert "accuracy 91.60% on validation" in best
    assert "Of many trials the best is flattered" in best
    assert "dropout: 0.1" in best
    assert "name: unbroken-best" in best


def test_d08_the_coordinator_killed_at_many_places_goes_on_to_the_same_trials(forked, places_of, unbroken) -> None:
    def work() -> None:
        run_sweep(sweep_of(), Path("killed"), program=PROGRAM)

    places = places_of(work)
    assert {"child:1", "child:6"} <= set(places)
    os.system("rm -rf killed")
    step = max(1, len(places) // 12)
    codes = [forked(work, f"{place}:kill") for place in places[::step]]  # again and again, and it still ends
    assert set(codes) <= {-9, 0}
    assert codes.count(-9) >= 5
    work()
    assert outcome(Path("killed")) == unbroken
    assert max(starts(Path("killed"))) <= 1, "a training that has finished is not begun again"
    assert not list(Path("killed").rglob("*.tmp"))


def test_d08_two_at_a_time_with_coordinator_and_child_killed(forked, unbroken, monkeypatch) -> None:
    monkeypatch.setenv("FAKE_DIES", str(Path("died").absolute()))

    def work() -> None:
        run_sweep(sweep_of(), Path("two"), jobs=2, program=PROGRAM)

    for fail in ("child:2:kill", "child:2:kill", "write:9:kill", None):
        forked(work, fail)
    assert Path("died").exists()
    assert outcome(Path("two")) == unbroken


def test_d08_a_child_that_was_killed_is_resumed(unbroken, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_DIES", str(Path("died").absolute()))
    run_sweep(sweep_of(), Path("child"), program=PROGRAM)
    assert outcome(Path("child")) == unbroken
    assert sorted(starts(Path("child"))) == [1] * 5 + [2]


@pytest.mark.parametrize("n_bytes", [1, 5, 60, 200, 400])
def test_d08_a_journal_that_was_cut_is_completed_from_the_runs(n_bytes: int, unbroken) -> None:
    path = Path("unbroken/trials.jsonl")
    data = path.read_bytes()
    path.write_bytes(data[:-n_bytes])
    run_sweep(sweep_of(), Path("unbroken"), program=PROGRAM)
    assert outcome(Path("unbroken")) == unbroken
    assert starts(Path("unbroken")) == [1] * 6, "nothing was trained again"
    assert [one.number for one in read_trials(Path("unbroken"))] == list(range(6))


@pytest.mark.parametrize(("code", "error"), [(2, UsageError), (3, DataError), (4, MachineError), (143, InterruptedRun)])
def test_what_ends_all_trials_ends_the_sweep_with_its_message(code: int, error: type, monkeypatch) -> None:
    monkeypatch.setenv("FAKE_CODE", str(code))
    text = GRID.replace("0.2, 0.3", "0.9")
    with pytest.raises(error, match="as asked" if code != 143 else "was stopped") as caught:
        run_sweep(sweep_of(text), Path("bad"), program=PROGRAM)
    trial = next(one for one in read_trials(Path("bad")) if one.values["model.dropout"] == 0.9)
    assert trial.state == "running"
    assert len(Path(f"bad/trials/{trial.name}/starts").read_text()) == (3 if code == 4 else 1)
    if code != 143:
        assert caught.value.hint.startswith("sentiment train bad/base.yaml --set model.dropout=0.9")
    monkeypatch.delenv("FAKE_CODE")
    run_sweep(sweep_of(text), Path("bad"), program=PROGRAM)
    assert len(outcome(Path("bad"))) == 4


def test_a_trial_that_diverges_is_recorded_and_not_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_CODE", "5")
    trials = run_sweep(sweep_of(GRID.replace("0.2, 0.3", "0.9")), Path("bad"), program=PROGRAM)
    assert sorted(one.state for one in trials) == ["complete", "complete", "diverged", "diverged"]
    assert starts(Path("bad")) == [1] * 4


def test_another_sweep_of_the_name_is_refused_and_more_trials_are_not(unbroken) -> None:
    with pytest.raises(UsageError, match="unbroken is a sweep with another search"):
        run_sweep(sweep_of(GRID.replace("0.3", "0.4")), Path("unbroken"), program=PROGRAM)
    with pytest.raises(UsageError, match="another experiment"):
        changed = load_sweep(Path("grid.yaml"), GRID.encode(), ["train.epochs=1"])
        run_sweep(changed, Path("unbroken"), program=PROGRAM)


def test_f17_a_second_coordinator_is_refused(forked) -> None:
    child = os.fork()
    if child == 0:
        from sentiment_cli.storage.holding import holding

        with holding(Path("held"), print, None):
            Path("ready").touch()
            time.sleep(120)
        os._exit(0)
    while not Path("ready").exists():
        time.sleep(0.01)
    try:
        with pytest.raises(UsageError, match=f"process {child} writes to held"):
            run_sweep(sweep_of(), Path("held"), program=PROGRAM)
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def test_no_trial_begins_after_the_time_is_over() -> None:
    assert run_sweep(sweep_of(), Path("late"), until=time.monotonic() - 1, program=PROGRAM) == []


TPE = GRID.replace("method: grid", "method: tpe\ntrials: 14").replace(
    "model.dropout: [0.1, 0.2, 0.3]", "model.dropout: {from: 0.0, to: 0.9}"
)


def done(sweep: Sweep, n: int) -> list[Trial]:
    """Return trials as they come out of a function of their values."""
    trials: list[Trial] = []
    for number in range(n):
        values = next_values(sweep, number, trials, is_alone=True)
        score = 1 - abs(values["model.dropout"] - 0.3)
        trials.append(Trial(number, values, "complete", score, [score / 2, score]))
    return trials


@pytest.fixture
def optuna() -> Any:
    return pytest.importorskip("optuna", reason="Optuna is not installed")


@pytest.mark.parametrize("method", ["tpe", "random"])
def test_d08_values_follow_from_seed_and_trial_and_not_from_the_process(optuna, method: str) -> None:
    sweep = sweep_of(TPE.replace("tpe", method))
    trials = done(sweep, 14)
    assert [next_values(sweep, n, trials[:n], is_alone=True) for n in range(14)] == [one.values for one in trials]
    assert len({one.values["model.dropout"] for one in trials}) == 14, "no draw is repeated"
    assert all(
        0 <= one.values["model.dropout"] <= 0.9 and one.values["model.encoder.width"] in (8, 16) for one in trials
    )
    other = sweep_of(TPE.replace("tpe", method) + "seed: 1\n")
    assert next_values(other, 0, [], is_alone=True) != trials[0].values


def test_tpe_comes_nearer_than_random_draws(optuna) -> None:
    def distance(method: str) -> float:
        text = TPE.replace("method: tpe", f"method: {method}")
        return sum(
            1 - max(one.score or 0 for one in done(sweep_of(f"{text}seed: {seed}\n"), 20)[10:]) for seed in range(5)
        )

    assert distance("tpe") < distance("random")


def test_a_trial_below_the_median_of_five_is_pruned_after_two_epochs(optuna) -> None:
    sweep = sweep_of(TPE.replace("prune: none", "prune: median"))
    trials = done(sweep, 5)
    assert not is_pruned(sweep, trials, 5, [0.0])
    assert is_pruned(sweep, trials, 5, [0.0, 0.0])
    assert not is_pruned(sweep, trials, 5, [0.0, 1.0])
    assert not is_pruned(sweep, trials[:4], 5, [0.0, 0.0])


def test_importances_need_trials_and_find_what_matters(optuna) -> None:
    sweep = sweep_of(TPE)
    assert importances(sweep, done(sweep, 19)) == {}
    found = importances(sweep, done(sweep, 40))
    assert next(iter(found)) == "model.dropout"


def test_d08_a_sweep_that_goes_on_equals_one_that_was_never_stopped(optuna, forked) -> None:
    sweep = sweep_of(TPE.replace("prune: none", "prune: median").replace("14", "9"))
    run_sweep(sweep, Path("whole"), program=PROGRAM)

    def work() -> None:
        run_sweep(sweep, Path("broken"), program=PROGRAM)

    for fail in ("child:3:kill", "child:2:kill", "write:4:kill"):
        assert forked(work, fail) == -9
    with Path("broken/trials.jsonl").open("a") as journal:
        journal.write('{"number": 5, "va')
    work()
    assert outcome(Path("broken")) == outcome(Path("whole"))


def test_the_pruned_are_those_that_the_metrics_say_however_far_the_child_has_come(optuna) -> None:
    sweep = sweep_of(TPE.replace("prune: none", "prune: median").replace("14", "12"))
    trials = run_sweep(sweep, Path("pruned"), program=PROGRAM)
    pruned = [one for one in trials if one.state == "pruned"]
    assert pruned
    assert all(len(one.epochs) < 3 and one.score is None for one in pruned)
    assert all(
        Path(f"pruned/trials/{one.name}/{METRICS_LOG}").read_text().count("\n") >= len(one.epochs) for one in pruned
    )


def test_grids_shuffle_by_seed() -> None:
    one, other = grid_of(sweep_of()), grid_of(sweep_of(GRID + "seed: 1\n"))
    assert one != other
    assert sorted(map(str, one)) == sorted(map(str, other))


def test_a_trial_stops_with_its_coordinator_and_other_trainings_do_not(monkeypatch: pytest.MonkeyPatch) -> None:
    watched: list[int] = []
    monkeypatch.setattr(launching, "leave_with", watched.append)
    launching.leave_with_launcher()
    monkeypatch.setenv(launching.COORDINATOR, "1")  # that of a parent's parent
    launching.leave_with_launcher()
    assert watched == []
    monkeypatch.setenv(launching.COORDINATOR, str(os.getppid()))
    launching.leave_with_launcher()
    assert watched == [os.getppid()]
