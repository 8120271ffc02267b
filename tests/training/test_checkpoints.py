"""Robustness cases F07 and F11 to F14 for checkpoints: what is damaged or foreign is never read, loudly."""

import contextlib
import json
import random
import shutil
import signal
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from sentiment_cli.config.loader import load_experiment
from sentiment_cli.errors import DataError, MachineError
from sentiment_cli.evaluation.metrics import score
from sentiment_cli.models.classifier import Classifier
from sentiment_cli.storage import failpoints
from sentiment_cli.storage.store import IntegrityError
from sentiment_cli.training import checkpoints
from sentiment_cli.training.checkpoints import (
    Best,
    RunFingerprint,
    TrainProgress,
    newest_checkpoint,
    restore,
    save_checkpoint,
    weights_of,
)
from sentiment_cli.training.optimizer import build_optimizer


@pytest.fixture
def experiment():
    return load_experiment("sample", ["model.encoder.width=3", "model.embedding.width=2", "train.device=cpu"])


@pytest.fixture
def trained(experiment):
    """A model and optimizer after one step."""
    torch.manual_seed(0)
    model = Classifier(experiment.model, 5, 1, 2, pad_is_input=False)
    optimizer = build_optimizer(model, experiment.train)
    model(torch.tensor([[2, 3]]), torch.tensor([2])).sum().backward()
    optimizer.step()
    return model, optimizer


def save(run: Path, experiment, trained, step: int, keep: int = 2, run_id: str = "a") -> Path:
    model, optimizer = trained
    scores = score(np.array([0, 1]), np.array([[0.9, 0.1], [0.4, 0.6]]), ("neg", "pos"))
    progress = TrainProgress(step, [{"epoch": 1}], [torch.tensor(0.7)], best=Best(scores, 1, 1, weights_of(model)))
    progress.scale_2 = torch.tensor([1024.0, 5.0])
    fingerprint = RunFingerprint(run_id, experiment, "key", {"torch": "1"}, {"device": "cpu"})
    return save_checkpoint(run, fingerprint, progress, model, optimizer, None, keep)


def test_a_checkpoint_comes_back_as_it_was(tmp_path: Path, experiment, trained) -> None:
    save(tmp_path, experiment, trained, 7)
    checkpoint = newest_checkpoint(tmp_path, "a")
    assert checkpoint is not None
    assert checkpoint.fingerprint == RunFingerprint("a", experiment, "key", {"torch": "1"}, {"device": "cpu"})
    assert (checkpoint.progress.step, checkpoint.progress.history) == (7, [{"epoch": 1}])
    assert torch.equal(torch.stack(checkpoint.progress.losses), torch.tensor([0.7]))
    assert checkpoint.progress.scale_2 is not None
    assert checkpoint.progress.scale_2.tolist() == [1024.0, 5.0]
    model, optimizer = trained
    other = Classifier(experiment.model, 5, 1, 2, pad_is_input=False)
    again = build_optimizer(other, experiment.train)
    restore(checkpoint, other, again, None)
    for ours, theirs in zip(model.parameters(), other.parameters(), strict=True):
        assert torch.equal(ours, theirs)
        assert optimizer.state[ours].keys() == again.state[theirs].keys()
        assert all(torch.equal(optimizer.state[ours][key], again.state[theirs][key]) for key in optimizer.state[ours])
    best = checkpoint.progress.best
    assert (best.epoch, best.step, best.scores and best.scores.accuracy) == (1, 1, 1.0)
    assert all(torch.equal(best.weights[name], tensor) for name, tensor in model.state_dict().items())


def test_the_last_checkpoints_are_kept_at_least_one(tmp_path: Path, experiment, trained) -> None:
    """Robustness case F05."""
    for step in range(1, 6):
        save(tmp_path, experiment, trained, step, keep=2)
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == ["step-00000004", "step-00000005"]
    save(tmp_path, experiment, trained, 6, keep=1)
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["step-00000006"]


def damages(data: bytes) -> list[bytes]:
    draw = random.Random(0)
    cuts = [data[: len(data) * i // 20] for i in range(20)]
    flips = []
    for _ in range(60):
        flipped = bytearray(data)
        flipped[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
        flips.append(bytes(flipped))
    return cuts + flips


@pytest.mark.parametrize("file", ["tensors.safetensors", "state.json", "manifest.json"])
def test_after_damage_the_previous_checkpoint_is_used(
    tmp_path: Path, experiment, trained, file: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Robustness cases F11, F12."""
    save(tmp_path, experiment, trained, 1)
    last = save(tmp_path, experiment, trained, 2)
    shutil.copytree(tmp_path, tmp_path.with_name("safe"))
    for data in damages((last / file).read_bytes()):
        if file == "manifest.json" and _says_the_same(data, (last / file).read_bytes()):
            continue
        (last / file).write_bytes(data)
        checkpoint = newest_checkpoint(tmp_path, "a")
        assert checkpoint is not None
        assert checkpoint.progress.step == 1
        assert "going back to the checkpoint before" in capsys.readouterr().err
        assert not last.exists()
        shutil.copytree(tmp_path.with_name("safe") / "checkpoints" / last.name, last)
    shutil.rmtree(tmp_path.with_name("safe"))


def _says_the_same(one: bytes, other: bytes) -> bool:
    try:
        return json.loads(one) == json.loads(other)
    except ValueError:
        return False


def test_without_an_undamaged_checkpoint_nothing_is_removed_or_restarted(tmp_path: Path, experiment, trained) -> None:
    """Robustness case F11."""
    for step in (1, 2):
        (save(tmp_path, experiment, trained, step) / "state.json").write_bytes(b"")
    with pytest.raises(DataError, match=r"none of the 2 checkpoints in .*checkpoints is whole") as caught:
        newest_checkpoint(tmp_path, "a")
    assert caught.value.hint == f"sentiment train {tmp_path / 'experiment.yaml'}"
    assert len(list((tmp_path / "checkpoints").iterdir())) == 2


def _delete(last: Path, first: Path) -> None:
    (last / "state.json").unlink()


def _add(last: Path, first: Path) -> None:
    (last / "more").write_bytes(b"")


def _swap(last: Path, first: Path) -> None:
    shutil.copy(first / "tensors.safetensors", last / "tensors.safetensors")


def _rename(last: Path, first: Path) -> None:
    (last / "state.json").rename(last / "state2.json")


def _copy_over(last: Path, first: Path) -> None:
    shutil.rmtree(last)
    shutil.copytree(first, last)


@pytest.mark.parametrize("change", [_delete, _add, _swap, _rename, _copy_over])
def test_a_checkpoint_of_other_files_is_refused(tmp_path: Path, experiment, trained, change, capsys) -> None:
    """Robustness case F13."""
    first = save(tmp_path, experiment, trained, 1)
    torch.nn.init.ones_(trained[0].output.weight)
    last = save(tmp_path, experiment, trained, 2)
    change(last, first)
    checkpoint = newest_checkpoint(tmp_path, "a")
    assert checkpoint is not None
    assert checkpoint.progress.step == 1
    assert "step-00000002" in capsys.readouterr().err


def test_a_checkpoint_of_another_run_or_format_is_refused(
    tmp_path: Path, experiment, trained, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    """Robustness cases F13, F14."""
    save(tmp_path, experiment, trained, 1)
    save(tmp_path / "other", experiment, trained, 2, run_id="b")
    shutil.copytree(tmp_path / "other" / "checkpoints", tmp_path / "checkpoints", dirs_exist_ok=True)
    with monkeypatch.context() as patch:
        patch.setattr(checkpoints, "_FORMAT", 3)
        save(tmp_path, experiment, trained, 3, keep=3)
    checkpoint = newest_checkpoint(tmp_path, "a")
    assert checkpoint is not None
    assert checkpoint.progress.step == 1
    said = capsys.readouterr().err
    assert "step-00000003 has format 3; this version reads 2" in said
    assert "step-00000002 belongs to run b, not to a" in said
    with pytest.raises(DataError, match="none of the 1"):
        newest_checkpoint(tmp_path, "c")


def test_a_save_killed_anywhere_leaves_an_undamaged_checkpoint(
    tmp_path: Path, experiment, trained, forked, places_of
) -> None:
    """Robustness cases F04, F05, F06."""
    save(tmp_path / "before", experiment, trained, 1)
    for place in places_of_the_second_save(tmp_path, experiment, trained, places_of):
        run = shutil.copytree(tmp_path / "before", tmp_path / place)
        assert forked(partial(save, run, experiment, trained, 2, keep=1), f"{place}:kill") == -signal.SIGKILL
        assert newest_checkpoint(run, "a").progress.step in (1, 2), place
        assert forked(partial(save, run, experiment, trained, 2, keep=1), "rename:1:kill") in (0, -signal.SIGKILL)
        save(run, experiment, trained, 2, keep=1)
        assert newest_checkpoint(run, "a").progress.step == 2, place
        save(run, experiment, trained, 3, keep=1)
        assert [path.name for path in (run / "checkpoints").iterdir()] == ["step-00000003"], place


@pytest.mark.parametrize("action", ["nospace", "ioerror", "short"])
def test_a_failed_write_leaves_the_previous_checkpoint(
    tmp_path: Path, experiment, trained, action: str, places_of
) -> None:
    """Robustness case F07."""
    save(tmp_path / "before", experiment, trained, 1)
    for place in places_of_the_second_save(tmp_path, experiment, trained, places_of):
        run = shutil.copytree(tmp_path / "before", tmp_path / place)
        failpoints.arm(f"{place}:{action}")
        with pytest.raises(MachineError, match=rf"cannot write {run}/checkpoints.*: (No space left|Input/output)"):
            save(run, experiment, trained, 2, keep=1)
        failpoints.arm(None)
        assert newest_checkpoint(run, "a").progress.step in (1, 2), place
        save(run, experiment, trained, 2, keep=1)
        assert newest_checkpoint(run, "a").progress.step == 2, place
        save(run, experiment, trained, 3, keep=1)
        assert [path.name for path in (run / "checkpoints").glob("step-*")] == ["step-00000003"], place
        n_drafts = len(list((run / "checkpoints").glob(".*")))
        assert n_drafts == (place == "remove:1"), place  # only what cannot be removed stays, for the next process


def places_of_the_second_save(tmp_path: Path, experiment, trained, places_of) -> list[str]:
    """Return the operations of the store in a save that also removes the previous checkpoint."""
    run = shutil.copytree(tmp_path / "before", tmp_path / "listed")
    places = places_of(partial(save, run, experiment, trained, 2, keep=1))
    assert len(places) > 15
    return places


def test_a_damaged_record_is_refused(tmp_path: Path) -> None:
    """Robustness case F14."""
    from sentiment_cli.runs.run_lock import owned

    (tmp_path / "run.json").write_text("[1]")
    with pytest.raises(IntegrityError, match=r"run\.json is damaged"), owned(tmp_path):
        pass
    (tmp_path / "run.json").write_text("{")
    with pytest.raises(IntegrityError, match=r"run\.json cannot be read"), owned(tmp_path):
        pass


def test_a_flipped_bit_in_a_summary_gives_no_traceback(quick_run: Path, tmp_path: Path) -> None:
    """Robustness case F12."""
    from sentiment_cli.workflows.finish import load_finished

    data = (quick_run / "summary.json").read_bytes()
    for damaged in damages(data) + [data.replace(key, b"x") for key in (b"confusion", b"seconds", b"tokens")]:
        (tmp_path / "summary.json").write_bytes(damaged)
        with contextlib.suppress(IntegrityError):
            load_finished(tmp_path)
    with pytest.raises(IntegrityError, match=r"summary\.json is damaged: KeyError\('tokens_per_second'\)"):
        load_finished(tmp_path)
