import json
import struct
import sys
import time
from pathlib import Path

import pytest

from sentiment_cli.training.tensorboard import write_events
from sentiment_cli.workflows.train import fit, resume

TINY = (
    "model.encoder.width=4",
    "model.embedding.width=4",
    "train.epochs=2",
    "train.threads=1",
    "train.tensorboard=true",
)
ROW = {"train_loss": 0.5, "valid_loss": None, "valid_accuracy": 0.75, "lr": 0.25, "tokens_per_second": 8.0}


def read_events(path: Path) -> list:
    """Read the records of a file, every checksum compared."""
    from tensorboardX.proto.event_pb2 import Event
    from tensorboardX.record_writer import masked_crc32c

    data, events = path.read_bytes(), []
    while data:
        (length,) = struct.unpack("<Q", data[:8])
        body = data[12 : 12 + length]
        checks = struct.unpack("<I", data[8:12]) + struct.unpack("<I", data[12 + length : 16 + length])
        assert checks == (masked_crc32c(data[:8]), masked_crc32c(body))
        events.append(Event.FromString(body))
        data = data[16 + length :]
    return events


def scalars(run: Path) -> list[tuple[int, dict[str, float]]]:
    found = []
    for path in sorted((run / "tensorboard").iterdir()):
        version, event = read_events(path)
        assert version.file_version == "brain.Event:2"
        assert (run / "experiment.yaml").stat().st_mtime - 1 < event.wall_time < time.time() + 1
        found.append((event.step, {value.tag: value.simple_value for value in event.summary.value}))
    return found


def test_an_event_file_equals_that_of_tensorboardx(tmp_path: Path) -> None:
    tensorboardx = pytest.importorskip("tensorboardX", reason="needs the extra tensorboard")
    (tmp_path / "experiment.yaml").touch()
    write_events(tmp_path, 7, ROW)
    ((step, ours),) = scalars(tmp_path)
    assert (step, ours) == (7, {"train/loss": 0.5, "valid/accuracy": 0.75, "lr": 0.25, "tokens/per_second": 8.0})
    with tensorboardx.SummaryWriter(str(tmp_path / "theirs")) as writer:
        for tag, value in ours.items():
            writer.add_scalar(tag, value, 7)
    (path,) = (tmp_path / "theirs").iterdir()
    theirs = [event for event in read_events(path) if event.summary.value]
    assert [(event.step, event.summary.value[0].tag, event.summary.value[0].simple_value) for event in theirs] == [
        (7, tag, value) for tag, value in ours.items()
    ]


def test_each_evaluation_is_logged_once_also_after_a_resume(experiment) -> None:
    pytest.importorskip("tensorboardX", reason="needs the extra tensorboard")
    settings = experiment(*TINY, "train.refit=true", "train.keep=9", "train.keep_finished=true")
    run = fit(settings).directory
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    before = scalars(run)
    n_steps = rows[1]["step"]
    assert [step for step, _ in before] == [row["step"] + (n_steps if "stage" in row else 0) for row in rows]
    assert [found["train/loss"] for _, found in before] == pytest.approx([row["train_loss"] for row in rows])
    assert ["valid/loss" in found for _, found in before] == ["stage" not in row for row in rows]
    (run / "summary.json").unlink()
    for path in sorted((run / "checkpoints").iterdir())[1:]:
        for file in path.iterdir():
            file.unlink()
        path.rmdir()
    resume(run, settings, ())
    assert [step for step, _ in scalars(run)] == [step for step, _ in before]


def test_without_tensorboardx_training_is_refused(typed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    said = typed("train", "sample", *(part for s in TINY for part in ("--set", s)))
    assert said.code == 4
    assert "train.tensorboard needs tensorboardX" in said.error
    assert said.hint == "pip install 'sentiment-cli[tensorboard]'"
    assert not (tmp_path / "runs").exists()
    assert not (tmp_path / "data").exists()
