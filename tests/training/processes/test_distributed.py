"""Invariant 7 and robustness cases D01 to D05: several processes train what one trains."""

import json
import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Sequence
from pathlib import Path

import forking
import killing
import numpy as np
import pytest
import safetensors.torch
import torch
from killing import SETTINGS, leftovers, outcome, train, train_together, write_reviews
from nodes import HERE, Node, wired

from sentiment_cli.config import schema
from sentiment_cli.errors import UsageError
from sentiment_cli.inference.torch_model import rows_of, score_rows
from sentiment_cli.models.classifier import Classifier
from sentiment_cli.training.processes.distributed import Group
from sentiment_cli.training.processes.launching import check_shared

SENTIMENT = [sys.executable, "-m", "sentiment_cli"]


LONGER = ("train.max_steps=20", "train.epochs=5")


def settings(root: Path, *more: str) -> list[str]:
    """Return the arguments of the command line for the same training as `train`."""
    ours = (*SETTINGS, f"data.source={root / 'data' / 'reviews.csv'}", *LONGER, *more)
    return ["sample", *(part for setting in ours for part in ("--set", setting))]


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root with prepared reviews and a run of one process."""
    root = tmp_path_factory.mktemp("alone")
    write_reviews(root)
    code, said = train(root, "alone", settings=LONGER)
    assert code == 0, said
    return root


def environment(root: Path) -> dict[str, str]:
    ours = {"SENTIMENT_DATA": str(root / "data"), "SENTIMENT_RUNS": str(root / "runs"), "OMP_NUM_THREADS": "1"}
    return {**os.environ, **ours}


def run(root: Path, command: list[str], *args: str, code: int = 0) -> str:
    if command == SENTIMENT:
        done = forking.run(args, b"", environment(root))
    else:
        done = subprocess.run([*command, *args], env=environment(root), capture_output=True, timeout=600)
    said = done.stderr.decode()
    assert done.returncode == code, said
    return said


def test_two_processes_train_the_same_bytes(alone: Path) -> None:
    """Robustness case D01."""
    said = run(alone, SENTIMENT, "train", *settings(alone), "--name", "two", "--nproc", "2")
    assert "on 2 processes" in said
    assert said.count("epoch   step") == 1  # the second process says nothing
    assert outcome(alone / "runs" / "two") == outcome(alone / "runs" / "alone")
    assert "dropout: 0.3" in (alone / "runs" / "two" / "experiment.yaml").read_text()


@pytest.mark.parametrize(
    "settings",
    [
        ("train.lazy_embeddings=true", "train.slices=4", "train.max_steps=8"),
        # A process without a row takes the same lazy step.
        ("text.max_tokens=8", "train.batch_tokens=8", "train.lazy_embeddings=true", "train.max_steps=8"),
    ],
)
def test_two_processes_update_embeddings_lazily_to_the_same_bytes(alone: Path, settings: tuple[str, ...]) -> None:
    """Robustness case D01."""
    names = [f"{name}-lazy-{len(settings)}" for name in ("one", "two")]
    assert train(alone, names[0], settings=(*LONGER, *settings))[0] == 0
    assert [code for code, _ in train_together(alone, names[1], settings=(*LONGER, *settings))] == [0, 0]
    assert outcome(alone / "runs" / names[1]) == outcome(alone / "runs" / names[0])


def test_other_numbers_of_processes_agree_to_rounding(alone: Path) -> None:
    """Robustness case D02."""
    three = (*LONGER, "train.slices=3", "train.optimizer=sgd", "train.ema=null")
    assert train(alone, "one-of-three", settings=three)[0] == 0
    assert [code for code, _ in train_together(alone, "three", n=3, settings=three)] == [0, 0, 0]
    one, other = (
        safetensors.torch.load_file(alone / "runs" / name / "model" / "weights.safetensors")
        for name in ("one-of-three", "three")
    )
    for name, tensor in one.items():
        torch.testing.assert_close(other[name], tensor, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("size", [2, 3, 7])
def test_every_row_is_scored_once_and_to_the_same_bits(size: int) -> None:
    """Robustness case D03."""
    torch.manual_seed(0)
    model = Classifier(schema.Model(), 9, 1, 2, pad_is_input=False).eval()
    text = schema.Text(max_tokens=None)
    rng = np.random.default_rng(0)
    rows, length_N = rows_of(rng.integers(2, 9, size=rng.integers(0, 900)).astype(np.int32) for _ in range(101))
    whole = score_rows(model, rows, length_N, text)
    parts = [score_rows(model, rows, length_N, text, first=rank, every=size) for rank in range(size)]
    assert (sum(part != 0 for part in parts) == 1).all()
    assert (sum(parts) == whole).all()


TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]


def worker(tmp_path: Path, place: str, at: int, number: int) -> Path:
    """Write a program that runs the command line and sends one process a signal once."""
    program = f"""
        import os, sys
        sys.path.insert(0, {str(Path(killing.__file__).parent)!r})
        from killing import arm
        if os.environ["RANK"] == "1" and os.environ["TORCHELASTIC_RESTART_COUNT"] == "0":
            arm({place!r}, {at}, ({number},))
        from sentiment_cli.cli import main
        main()
    """
    (tmp_path / "worker.py").write_text(textwrap.dedent(program))
    return tmp_path / "worker.py"


def test_a_restarted_process_ends_with_the_same_bytes(alone: Path, tmp_path: Path) -> None:
    """Robustness case D04."""
    program = worker(tmp_path, "after backward", 7, signal.SIGKILL)
    command = [*TORCHRUN, "--max-restarts", "1", str(program)]
    said = run(alone, command, "train", *settings(alone), "--name", "killed")
    assert f"resuming {alone / 'runs' / 'killed'} after step" in said
    assert outcome(alone / "runs" / "killed") == outcome(alone / "runs" / "alone")
    assert not (alone / "runs" / "killed-2").exists()


def test_a_signal_to_one_process_stops_all_at_one_checkpoint(alone: Path) -> None:
    """Robustness case D05."""
    stopped = train_together(alone, "told", settings=LONGER, signalled=("after backward", 7, signal.SIGTERM))
    assert [code for code, _ in stopped] == [143, 143]
    assert "error: interrupted after step 7, which is saved" in stopped[0][1]
    directory = alone / "runs" / "told"
    assert sorted(path.name for path in (directory / "checkpoints").iterdir())[-1] == "step-00000007"
    assert leftovers(alone) == []
    assert train(alone, "told", resumed=True)[0] == 0  # by one process
    assert outcome(directory) == outcome(alone / "runs" / "alone")


def agents(root: Path, *args: str, nodes: Sequence[Node] = (HERE, HERE)) -> list[subprocess.Popen[bytes]]:
    """Start two agents of torchrun with one process each, as on two machines."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "torch.distributed.run", "--nnodes", "2", "--nproc-per-node", "1"]
    command += ["--rdzv-backend", "c10d", "--rdzv-endpoint", f"{nodes[0].address}:{port}", "--rdzv-id", "two"]
    started = []
    for i, node in enumerate(nodes):
        own = ["--local-addr", node.address, "--rdzv-conf", f"is_host={i == 0}"]  # not by host names, which are equal
        ours = {**environment(root), "GLOO_SOCKET_IFNAME": node.interface}
        words = [*node.prefix, *command, *own, "-m", "sentiment_cli", *args]
        started.append(subprocess.Popen(words, env=ours, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE))
    return started


def test_two_agents_of_torchrun_train_what_one_process_trains(alone: Path) -> None:
    both = agents(alone, "train", *settings(alone), "--name", "agents")
    said = [agent.communicate(timeout=600)[1].decode() for agent in both]
    assert [agent.returncode for agent in both] == [0, 0], said
    assert outcome(alone / "runs" / "agents") == outcome(alone / "runs" / "alone")


def test_two_agents_that_only_a_wire_joins_train_what_one_process_trains(alone: Path) -> None:
    """Each agent has a network of its own, so that no address of one machine reaches the other by accident."""
    with wired() as nodes:
        both = agents(alone, "train", *settings(alone), "--name", "wired", nodes=nodes)
        said = [agent.communicate(timeout=600)[1].decode() for agent in both]
    assert [agent.returncode for agent in both] == [0, 0], said
    assert outcome(alone / "runs" / "wired") == outcome(alone / "runs" / "alone")


@pytest.mark.slow
def test_d06_an_agent_that_was_lost_comes_back_and_the_run_is_resumed(alone: Path) -> None:
    both = agents(alone, "train", *settings(alone), "--name", "lost")
    checkpoints = alone / "runs" / "lost" / "checkpoints"
    while not list(checkpoints.glob("step-*")):
        time.sleep(0.05)
        assert all(agent.poll() is None for agent in both)
    both[1].kill()
    for agent in both:
        agent.communicate(timeout=600)
    again = agents(alone, "train", "--resume", str(checkpoints.parent))
    said = [agent.communicate(timeout=600)[1].decode() for agent in again]
    assert [agent.returncode for agent in again] == [0, 0], said
    assert outcome(checkpoints.parent) == outcome(alone / "runs" / "alone")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGKILL, -signal.SIGKILL)])
def test_a_signal_to_the_launcher_stops_all_and_so_does_its_death(alone: Path, number: int, code: int) -> None:
    """Robustness case D05. Case A24, later: processes whose launcher is killed save their step and end."""
    command = [*SENTIMENT, "train", *settings(alone, "train.epochs=2000", "train.max_steps=null")]
    name = f"long-{number}"
    launcher = subprocess.Popen(
        [*command, "--name", name, "--nproc", "2"], env=environment(alone), stderr=subprocess.PIPE, text=True
    )
    checkpoints = alone / "runs" / name / "checkpoints"
    while not list(checkpoints.glob("step-*")):
        time.sleep(0.05)
        assert launcher.poll() is None
    launcher.send_signal(number)
    _, said = launcher.communicate()  # up to the end of the last process that has its stderr
    assert launcher.returncode == code, said
    assert "which is saved" in said
    assert "Traceback" not in said
    assert json.loads((checkpoints.parent / "summary.json").read_text())["status"] == "interrupted"


def test_processes_that_do_not_divide_the_slices_are_refused(cli) -> None:
    done = cli("train", "sample", "--set", "train.slices=4", "--nproc", "3")
    assert done.returncode == 2
    assert "3 processes do not divide train.slices, which is 4" in done.stderr
    assert "--set train.slices=3" in done.stderr
    one = schema.Experiment(name="one")
    check_shared(1, one)
    with pytest.raises(UsageError, match=r"one: 2 processes do not divide train.slices, which is 1"):
        check_shared(2, one)
    linear = schema.Experiment(name="two", model=schema.Model(kind="linear"), train=schema.Train(slices=2))
    with pytest.raises(UsageError, match=r"two: model.kind is linear, which one process trains"):
        check_shared(2, linear)
    apple = schema.Experiment(name="three", train=schema.Train(slices=2, device="mps"))
    with pytest.raises(UsageError, match=r"three: train.device is mps, on which one process trains"):
        check_shared(2, apple)


def test_an_experiment_to_start_from_that_processes_cannot_share_is_named(alone: Path) -> None:
    source = f"data: {{source: {alone / 'data' / 'reviews.csv'}}}\n"
    vectors = "task: vectors\nmodel: {embedding: {width: 8}}\ntrain: {window: 16, batch_tokens: 512}\n"
    (alone / "vectors.yaml").write_text(f"name: vectors\n{source}{vectors}")
    (alone / "after.yaml").write_text(f"name: after\n{source}init_from: vectors.yaml\ntrain: {{slices: 2}}\n")
    said = run(alone, SENTIMENT, "train", str(alone / "after.yaml"), "--nproc", "2", code=2)
    assert "vectors: 2 processes do not divide train.slices, which is 1" in said
    assert f"try: sentiment pretrain {alone / 'vectors.yaml'}" in said
    assert not (alone / "runs" / "vectors").exists()


def test_micro_batches_are_divided_evenly() -> None:
    assert [list(Group(rank, 1).slice_range(6)) for rank in (0,)] == [[0, 1, 2, 3, 4, 5]]
    assert [list(Group(rank, 3).slice_range(6)) for rank in range(3)] == [[0, 1], [2, 3], [4, 5]]
