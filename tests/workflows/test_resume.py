"""Invariants 1 and 6: a run that is stopped anywhere, in any way, resumes to the same bytes.

F03 to F28 are robustness cases: a kill, a full disk, damage, a second process, a signal, changed settings.
"""

import fcntl
import json
import os
import re
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
from killing import leftovers, outcome, train, write_reviews

from sentiment_cli.storage import store


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root with prepared reviews and an uninterrupted run."""
    root = tmp_path_factory.mktemp("unbroken")
    write_reviews(root)
    code, said = train(root, "whole")
    assert code == 0, said
    return root


@pytest.fixture
def root(unbroken: Path, tmp_path: Path) -> Path:
    """A new root with the same prepared data."""
    (tmp_path / "data").symlink_to(unbroken / "data")
    return tmp_path


PLACES = [
    *[("step start", at) for at in (1, 12)],  # there are two slices in a step
    *[("after backward", 1), ("after backward", 6), ("after the update", 4)],
    *[("validation", 1), ("validation", 2), ("log", 1), ("log", 2)],
    ("model", 1),
]
FAILPOINTS = [  # what a run has the store do, from run.json to summary.json; writes are left half done
    *("write:1", "rename:2", "write:4", "flush:5", "write:8", "rename:7", "remove:1"),
    *("write:15", "write:20", "rename:10", "rename:12"),
]
KILLS = [{"place": place, "at": at} for place, at in PLACES] + [{"fail": f"{site}:kill"} for site in FAILPOINTS]


@pytest.mark.parametrize("kill", KILLS, ids=lambda kill: "-".join(map(str, kill.values())))
def test_a_killed_run_resumes_to_the_same_bytes(unbroken: Path, root: Path, kill: dict[str, Any]) -> None:
    """Robustness cases F03, F04, F05."""
    code, said = train(root, "run", **kill)
    assert code == -signal.SIGKILL, said
    run = root / "runs" / "run"
    if not (run / "experiment.yaml").exists():  # killed before it was a run: the plain command makes one
        shutil.rmtree(run, ignore_errors=True)
        assert train(root, "run")[0] == 0
    else:
        had = sorted((run / "checkpoints").glob("step-*"))
        code, said = train(root, "run", resumed=True)
        assert code == 0, said
        assert "going back" not in said
        if had:
            assert f"resuming {run} after step {int(had[-1].name[5:]):,}" in said
        else:
            assert "was stopped before its first checkpoint: it starts at step 0 of its own experiment.yaml" in said
    assert outcome(run) == outcome(unbroken / "runs" / "whole")
    assert leftovers(root) == []


RECOVERIES = [{"place": "after the update"}, *({"fail": f"{site}:kill"} for site in ("write:1", "write:4", "remove:1"))]


@pytest.mark.parametrize("kill", RECOVERIES, ids=lambda kill: "-".join(kill.values()))
def test_a_run_killed_while_it_resumes_resumes(unbroken: Path, root: Path, kill: dict[str, Any]) -> None:
    """Robustness case F06."""
    assert train(root, "run", place="after backward", at=4)[0] == -signal.SIGKILL
    assert train(root, "run", resumed=True, **kill)[0] == -signal.SIGKILL
    code, said = train(root, "run", resumed=True)
    assert code == 0, said
    assert outcome(root / "runs" / "run") == outcome(unbroken / "runs" / "whole")


def test_a_run_resumed_twice_equals_an_uninterrupted_one(unbroken: Path, root: Path) -> None:
    """Robustness case F28."""
    assert train(root, "run", place="step start", at=2, send=(signal.SIGTERM,))[0] == 143
    for _ in range(2):
        assert train(root, "run", resumed=True, place="step start", at=2, send=(signal.SIGINT,))[0] == 130
    assert train(root, "run", resumed=True)[0] == 0
    assert outcome(root / "runs" / "run") == outcome(unbroken / "runs" / "whole")


@pytest.mark.parametrize(
    ("fail", "path", "said_of_it"),
    [
        ("write:11:short", "checkpoints/step-00000004", "No space left on device"),
        ("write:7:nospace", "metrics.jsonl", "No space left on device"),
        ("rename:8:ioerror", "checkpoints/step-00000002", "Input/output error"),
        ("flush:24:ioerror", "model", "Input/output error"),
    ],
)
def test_a_run_stopped_by_a_full_disk_resumes_to_the_same_bytes(
    unbroken: Path, root: Path, fail: str, path: str, said_of_it: str
) -> None:
    """Robustness case F07."""
    code, said = train(root, "run", fail=fail)
    run = root / "runs" / "run"
    assert code == 4
    assert f"error: cannot write {run / path}" in said
    assert said_of_it in said
    look = "df -h " if "No space" in said_of_it else "ls -ld "
    assert f"\n  try: {look}" in said
    assert said.endswith(f" && sentiment train --resume {run}\n")
    assert leftovers(root) == []
    code, said = train(root, "run", resumed=True)
    assert code == 0, said
    assert outcome(run) == outcome(unbroken / "runs" / "whole")


def test_a_run_without_its_experiment_suggests_no_resume(root: Path) -> None:
    """Robustness case F07."""
    code, said = train(root, "run", fail="write:2:nospace")
    assert code == 4
    assert f"cannot write {root / 'runs' / 'run' / 'experiment.yaml'}" in said
    assert "--resume" not in said


def _swap(run: Path, other: Path) -> None:
    shutil.rmtree(run / "checkpoints")
    shutil.copytree(other / "checkpoints", run / "checkpoints")


def _cut_settings(run: Path, other: Path) -> None:
    whole = (run / "experiment.yaml").read_bytes()
    (run / "experiment.yaml").write_bytes(whole[: whole.index(b"  source:") + 5])  # wherever that may be


def _cut_record(run: Path, other: Path) -> None:
    (run / "run.json").write_bytes((run / "run.json").read_bytes()[:-5])


def _swap_record(run: Path, other: Path) -> None:
    shutil.copy(other / "run.json", run / "run.json")


def _cut_metrics(run: Path, other: Path) -> None:
    (run / "metrics.jsonl").write_bytes(b'{"epoch": 1')


@pytest.mark.parametrize(
    ("change", "code", "said_of_it"),
    [
        (_swap, 3, "none of the 2 checkpoints in"),
        (_swap_record, 3, "none of the 2 checkpoints in"),
        (_cut_record, 3, "run.json cannot be read"),
        (_cut_settings, 2, "experiment.yaml"),
        (_cut_metrics, 0, "resuming "),
    ],
)
def test_damaged_or_foreign_files_of_a_run_are_refused_or_rewritten(
    unbroken: Path, root: Path, change, code: int, said_of_it: str
) -> None:
    """Robustness cases F11, F13."""
    assert train(root, "run", place="step start", at=11, send=(signal.SIGTERM,))[0] == 143
    run = root / "runs" / "run"
    change(run, unbroken / "runs" / "whole")
    found, said = train(root, "run", resumed=True)
    assert found == code, said
    assert said_of_it in said
    if code == 0:
        assert outcome(run) == outcome(unbroken / "runs" / "whole")


@pytest.mark.parametrize("at", [7, 10])
def test_a_run_killed_while_it_refits_resumes_to_the_same_bytes(root: Path, at: int) -> None:
    """Robustness case F03."""
    refit = ("train.refit=true", "train.lazy_embeddings=true")
    assert train(root, "whole", settings=refit)[0] == 0
    assert train(root, "run", settings=refit, place="after backward", at=at)[0] == -signal.SIGKILL
    code, said = train(root, "run", resumed=True)
    assert code == 0, said
    assert outcome(root / "runs" / "run") == outcome(root / "runs" / "whole")
    assert any(row.get("stage") == "refit" for row in outcome(root / "runs" / "run")[1])


SIGNALS = [(place, number) for place in ("step start", "validation", "disk", "purge") for number in (15, 2)]
SIGNALS.append(("after backward", 1))


@pytest.mark.parametrize(("place", "number"), SIGNALS)
def test_a_signal_stops_a_run_after_saving(unbroken: Path, root: Path, place: str, number: int) -> None:
    """Robustness cases F18, F19."""
    code, said = train(root, "run", place=place, at=5 if place == "disk" else 1, send=(number,))
    assert code == 128 + number, said
    run = root / "runs" / "run"
    assert f"try: sentiment train --resume {run}" in said
    step = sorted((run / "checkpoints").iterdir())[-1].name
    assert f"interrupted after step {int(step[5:])}, which is saved" in said
    assert json.loads((run / "summary.json").read_text())["status"] == "interrupted"
    code, said = train(root, "run", resumed=True)
    assert code == 0, said
    assert outcome(run) == outcome(unbroken / "runs" / "whole")
    assert leftovers(root) == []


@pytest.mark.parametrize("place", ["validation", "disk", "model"])
def test_two_signals_stop_a_run_at_once_consistently(unbroken: Path, root: Path, place: str) -> None:
    """Robustness case F19."""
    code, said = train(root, "run", place=place, at=5 if place == "disk" else 1, send=(signal.SIGINT, signal.SIGINT))
    assert code == 130, said
    code, said = train(root, "run", resumed=True)
    assert code == 0, said
    assert outcome(root / "runs" / "run") == outcome(unbroken / "runs" / "whole")


def test_a_signal_while_data_is_prepared_leaves_nothing(root: Path) -> None:
    """Robustness case F18."""
    (root / "data").unlink()
    write_reviews(root)
    code, said = train(root, "run", place="disk", at=3, send=(signal.SIGTERM,))
    assert code == 143
    assert "interrupted while the data was prepared; no run was begun" in said
    assert not (root / "runs").exists()
    assert [path for path in (root / "data").rglob("*") if path.name.endswith(".tmp")] == []


def test_a_second_training_of_a_run_is_refused_and_names_the_first(root: Path) -> None:
    """Robustness case F17."""
    assert train(root, "run", place="step start", at=3, send=(signal.SIGTERM,))[0] == 143
    run = root / "runs" / "run"
    descriptor = os.open(run, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    pid = json.loads((run / "run.json").read_text())["pid"]
    code, said = train(root, "run", resumed=True)
    os.close(descriptor)
    assert code == 2
    assert f"error: {run} is being trained by process {pid}" in said
    assert train(root, "run", resumed=True)[0] == 0


def test_resuming_a_finished_run_trains_nothing_and_more_epochs_need_a_new_run(unbroken: Path, root: Path) -> None:
    shutil.copytree(unbroken / "runs", root / "runs")
    run = root / "runs" / "whole"
    code, said = train(root, "whole", resumed=True)
    assert (code, said) == (0, f"{run} is finished; there is nothing left to train\n")
    code, said = train(root, "whole", resumed=True, settings=("train.epochs=3",))
    assert code == 2
    assert "finished run is not trained on: train.epochs was 2 and is 3" in said
    config = run / "experiment.yaml"
    assert f"try: sentiment train {config} --set init_from={run} --set train.epochs=3" in said


CHANGES = [
    ("train.lr=0.5", "train.lr was 0.01 and is 0.5", True),
    ("train.epochs=3", "train.epochs was 2 and is 3", True),
    ("train.batch_tokens=2048", "train.batch_tokens was 3072 and is 2048", False),
    ("seed=1", "seed was 0 and is 1", False),
    ("model.encoder.width=8", "model.encoder.width was 4 and is 8", False),
    ("vocabulary.min_count=2", "vocabulary.min_count was 1 and is 2", False),
]


@pytest.fixture(scope="module")
def killed(unbroken: Path) -> Path:
    """The runs of a root, of which one was killed after two steps."""
    assert train(unbroken, "run", place="after backward", at=4)[0] == -signal.SIGKILL
    return unbroken / "runs"


@pytest.mark.parametrize(("setting", "shown", "is_safe"), CHANGES)
def test_a_changed_setting_is_shown_and_needs_allow_change(
    killed: Path, root: Path, setting: str, shown: str, is_safe: bool
) -> None:
    """Robustness case F27."""
    shutil.copytree(killed / "run", root / "runs" / "run")
    run, key = root / "runs" / "run", setting.partition("=")[0]
    code, said = train(root, "run", resumed=True, settings=(setting,))
    assert code == 2
    assert f"error: {run} was trained with other settings: {shown}" in said
    if not is_safe:
        assert f"no run can go on with another {key}" in said
        code, said = train(root, "run", resumed=True, settings=(setting,), allowed=(key,))
        assert code == 2
        assert f"--allow-change {key}: no run can go on with another {key}; what can change is" in said
        return
    assert f"try: sentiment train --resume {run} --set {setting} --allow-change {key}" in said
    code, said = train(root, "run", resumed=True, settings=(setting,), allowed=(key,), place="after backward", at=1)
    assert code == -signal.SIGKILL
    assert re.search(rf"^{re.escape(key)}: .* from step 2$", said, re.M)
    change = json.loads((run / "run.json").read_text())["changes"][0]
    assert (change["step"], change["key"], str(change["to"])) == (2, key, setting.partition("=")[2])
    code, said = train(root, "run", resumed=True)  # what was allowed once stays so
    assert code == 0, said
    if key == "train.epochs":
        assert [row["epoch"] for row in outcome(run)[1]] == [1, 2, 3]


def test_fewer_steps_than_were_taken_are_refused_and_leave_the_run_as_it_was(root: Path) -> None:
    """Robustness case F27."""
    assert train(root, "run", place="after backward", at=8)[0] == -signal.SIGKILL
    run, fewer = root / "runs" / "run", ("train.max_steps=5",)
    code, said = train(root, "run", resumed=True, settings=fewer, allowed=("train.max_steps",))
    assert code == 2, said
    assert f"train.max_steps is 5, and {run} has taken 6 steps" in said
    assert f"--resume {run} --set train.max_steps=6 --allow-change train.max_steps" in said
    assert json.loads((run / "run.json").read_text())["changes"] == []
    code, said = train(root, "run", resumed=True, settings=("train.max_steps=6",), allowed=("train.max_steps",))
    assert code == 0, said
    assert "stopped: 6 steps are done" in said


def test_scores_of_an_interrupted_model_go_with_it(root: Path) -> None:
    assert train(root, "run", place="step start", at=12, send=(signal.SIGINT,))[0] == 130
    kept = root / "runs" / "run" / "evaluation"
    kept.mkdir()
    for name in ("test.json", "test-predictions.jsonl", "pairs-mine.json", "ledger.jsonl"):
        (kept / name).write_text("{}\n")
    code, said = train(root, "run", resumed=True)
    assert code == 0, said
    assert [path.name for path in kept.iterdir()] == ["ledger.jsonl"]


def test_another_torch_or_other_data_are_refused(root: Path) -> None:
    """Robustness case F27."""
    assert train(root, "run", place="after backward", at=4)[0] == -signal.SIGKILL
    run = root / "runs" / "run"
    _edit_state(run, lambda about: about["versions"].update(torch="2.0.0"))
    code, said = train(root, "run", resumed=True)
    assert code == 2
    assert "versions.torch was 2.0.0 and is" in said
    assert f"try: sentiment train --resume {run} --allow-change versions.torch" in said
    assert train(root, "run", resumed=True, allowed=("versions.torch",), place="step start")[0] == -signal.SIGKILL
    _edit_state(run, lambda about: about.update(data="reviews-0123456789abcdef"))
    code, said = train(root, "run", resumed=True, allowed=("versions.torch",))
    assert code == 3
    assert "other reviews than reviews-0123456789abcdef" in said


def _edit_state(run: Path, edit) -> None:
    """Change state.json of the newest checkpoint, and its manifest accordingly."""
    import hashlib

    path = sorted((run / "checkpoints").iterdir())[-1]
    about = json.loads((path / "state.json").read_text())
    edit(about)
    data = json.dumps(about).encode()
    (path / "state.json").write_bytes(data)
    manifest = json.loads((path / "manifest.json").read_text())
    manifest["files"]["state.json"] = {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    (path / "manifest.json").write_bytes(store.dump_manifest(manifest["files"]))


def test_a_run_stopped_by_the_memory_limit_resumes(unbroken: Path, root: Path) -> None:
    """Robustness case F20."""
    more = ("train.batch_tokens=2097152", "model.encoder.width=512", "train.checkpoint_steps=1")
    code, said = train(root, "run", settings=more, megabytes=600)
    assert code == 4, said
    run = root / "runs" / "run"
    assert "not enough memory" in said
    assert "with train.batch_tokens 2,097,152 in 2 slices" in said
    assert f"try: sentiment train --resume {run} --set train.slices=4 --allow-change train.slices" in said
