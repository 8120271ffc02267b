"""What trackers receive of a run, read back: settings, figures and scores; no texts, paths or machine."""

import json
import os
import socket
from pathlib import Path

import pytest

from sentiment_cli.errors import DataError, MachineError
from sentiment_cli.runs.files import METRICS_LOG
from sentiment_cli.workflows import tracking
from sentiment_cli.workflows.tracking import scores_of, send_run, settings_of


@pytest.fixture
def run(quick_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the quick run, whose experiment names files of a user."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "runs" / "mine"
    for name in ("experiment.yaml", METRICS_LOG, "summary.json", "run.json"):
        path.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes((quick_run / name).read_bytes())
    text = (path / "experiment.yaml").read_text().replace("source: sample", "source: /home/anna/secret.csv", 1)
    (path / "experiment.yaml").write_text(text)
    return path


def forbidden(run: Path) -> list[str]:
    return ["anna", "secret", str(run.parent.parent), socket.gethostname() * 2, os.fspath(Path.home() / "x")]


def test_settings_hold_no_data_and_no_paths(run: Path) -> None:
    settings = settings_of(run)
    assert settings["model.encoder.width"] == 8
    assert settings["seed"] == 0
    assert not [key for key in settings if key.startswith(("data.", "init", "teacher", "name"))]
    assert not [one for one in forbidden(run) if one in json.dumps(settings)]


def test_a_run_is_not_changed_and_its_scores_are_numbers(run: Path) -> None:
    scores = scores_of(run)
    assert scores["valid_accuracy"] == json.loads((run / "summary.json").read_text())["valid"]["accuracy"]
    assert all(isinstance(value, float) for value in scores.values())


def test_tensorboard_gets_a_file_for_each_step(run: Path) -> None:
    pytest.importorskip("tensorboardX")
    rows = [json.loads(line) for line in (run / METRICS_LOG).read_text().splitlines()]
    assert send_run(run, "tensorboard") == len(rows)
    assert len(list((run / "tensorboard").iterdir())) == len(rows)


def test_following_takes_rows_as_they_come_and_ends_with_the_run(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("tensorboardX")
    summary, row = (run / "summary.json").read_bytes(), json.loads((run / METRICS_LOG).read_text().splitlines()[0])
    (run / "summary.json").unlink()
    (run / METRICS_LOG).unlink()
    waits: list[float] = []

    def train(seconds: float) -> None:
        waits.append(seconds)
        with (run / METRICS_LOG).open("a") as log:
            log.write(json.dumps({**row, "step": 10 * len(waits), "epoch": len(waits)}) + "\n")
        if len(waits) == 3:
            (run / "summary.json").write_bytes(summary)

    monkeypatch.setattr(tracking.time, "sleep", train)
    assert send_run(run, "tensorboard", follow=True) == 3
    steps = sorted(path.name[-8:] for path in (run / "tensorboard").iterdir())
    assert steps == ["00000010", "00000020", "00000030"]


def test_a_tracker_that_is_missing_or_refuses_costs_the_run_nothing(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    monkeypatch.setitem(__import__("sys").modules, "mlflow", None)
    with pytest.raises(MachineError, match="mlflow is not installed") as caught:
        send_run(run, "mlflow")
    assert caught.value.hint == "pip install mlflow-skinny"

    def refuse(*args: object) -> None:
        raise RuntimeError("no server")

    monkeypatch.setitem(tracking._SINKS, "wandb", refuse)
    with pytest.raises(MachineError, match=r"wandb does not take the run: .*no server"):
        send_run(run, "wandb")
    (run / METRICS_LOG).unlink()
    with pytest.raises(DataError, match="nothing has been validated yet"):
        send_run(run, "tensorboard")
    del before[run / METRICS_LOG]
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before


@pytest.mark.filterwarnings("ignore")
def test_mlflow_with_a_folder_as_its_store_has_the_figures(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mlflow = pytest.importorskip("mlflow", reason="MLflow is not installed")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    mlflow.set_tracking_uri(f"file:{Path('store').absolute()}")
    n = send_run(run, "mlflow")
    client = mlflow.MlflowClient()
    (found,) = client.search_runs([client.get_experiment_by_name("sentiment").experiment_id])
    assert found.info.run_name == "mine"
    assert found.info.status == "FINISHED"
    assert found.data.params["model.encoder.width"] == "8"
    assert len(client.get_metric_history(found.info.run_id, "valid_loss")) >= n
    said = json.dumps([found.data.params, found.data.metrics, found.data.tags, found.info.user_id])
    assert not [one for one in forbidden(run) if one in said]


@pytest.mark.filterwarnings("ignore")
def test_wandb_offline_has_the_figures_and_not_the_machine(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb", reason="wandb is not installed")
    monkeypatch.setenv("WANDB_MODE", "offline")
    assert send_run(run, "wandb") >= 1
    (log,) = Path("wandb").glob("offline-run-*/*.wandb")
    data = log.read_bytes()
    assert b"model.encoder.width" in data
    assert b"valid_loss" in data
    assert not [one for one in forbidden(run) if one.encode() in data]
    assert not [path for path in Path("wandb").rglob("*") if path.name in ("requirements.txt", "wandb-metadata.json")]
