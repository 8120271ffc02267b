"""Stop distributed training at random moments; count the runs that end in time, correctly, and can be resumed.

    python benchmarks/stops.py                         200 stops, with two busy loops beside them
    python benchmarks/stops.py --stops 20 --busy 0

Each stop starts `sentiment train --nproc 2` and sends a signal. The moment of every second one is drawn evenly from the
seconds that an unbroken training took, that of the others from its epochs: on a busy machine starting takes longest.
The signal is SIGTERM to the launcher, SIGINT to the launcher and all its processes at once, as a terminal or a service
manager may send it, or SIGTERM to one process. The script then waits for all of them, and resumes the run in one
process: weights and metrics must be those of a training that nothing stopped.
"""

import argparse
import contextlib
import csv
import hashlib
import json
import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sentiment_cli import console
from sentiment_cli.data.sources import sample

KINDS = ("SIGTERM to the launcher", "SIGINT to all at once", "SIGTERM to one process")
_IN_TIME_S, _PATIENCE_S = 5.0, 120.0
_SETTINGS = ["train.device=cpu", "train.threads=1", "train.precision=fp32", "train.slices=2", "train.ema=0.9"]
_SETTINGS += ["model.encoder.width=4", "model.embedding.width=4", "train.batch_tokens=3072", "train.checkpoint_steps=3"]


@dataclass
class Stopped:
    """One stop: its moment, from the start or from the end of epoch `after`, and the seconds that it took.

    `wrong` says what is wrong with it, or is empty.
    """

    kind: str
    after: int | None
    at_s: float
    code: int
    left_s: float
    outcome: str
    wrong: str

    @property
    def moment(self) -> str:
        return f"{self.at_s:.2f} s" if self.after is None else f"epoch {self.after} + {self.at_s:.2f} s"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--stops", type=int, default=200)
    parser.add_argument("--busy", type=int, default=2, help="loops that keep a core busy beside each training")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, help="begin no other stop after so long")
    asked = parser.parse_args()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
    draws = random.Random(asked.seed)
    with tempfile.TemporaryDirectory() as scratch, _busy(asked.busy):
        root = Path(scratch)
        os.environ |= {"SENTIMENT_DATA": str(root / "data"), "SENTIMENT_RUNS": str(root / "runs")}
        os.environ |= {"OMP_NUM_THREADS": "1", "GOMP_SPINCOUNT": "1000"}
        _write_reviews(root / "reviews.csv")
        began = time.monotonic()
        whole = _start(root, asked.epochs, "whole")
        if whole.wait() != 0:
            raise SystemExit((root / "stderr").read_text())
        length_s = time.monotonic() - began
        expected = _outcome(root / "runs" / "whole")
        print(f"{length_s:.1f} s without a stop, {asked.busy} busy loops", flush=True)
        found: list[Stopped] = []
        started = time.monotonic()
        while len(found) < asked.stops:
            if asked.minutes is not None and time.monotonic() - started > asked.minutes * 60:
                break
            kind = KINDS[len(found) % len(KINDS)]
            after = draws.randrange(asked.epochs) if len(found) % 2 else None
            at_s = draws.uniform(0, length_s if after is None else length_s / asked.epochs)
            found.append(_stop(root, asked.epochs, kind, after, at_s, draws, expected))
            one = found[-1]
            line = (
                f"{len(found):>4}  {one.kind:<24} {one.moment:>20}  exit {one.code:>4}  left after {one.left_s:.2f} s"
            )
            print(f"{line}  {one.outcome}{'  WRONG: ' + one.wrong if one.wrong else ''}", flush=True)
        _report(found)
    sys.exit(any(one.wrong for one in found))


def _stop(
    root: Path,
    epochs: int,
    kind: str,
    after: int | None,
    at_s: float,
    draws: random.Random,
    expected: tuple[str, list[object]],
) -> Stopped:
    run = root / "runs" / "stopped"
    shutil.rmtree(run, ignore_errors=True)
    launcher = _start(root, epochs, "stopped")
    while after is not None and launcher.poll() is None and _n_epochs(run) < after:
        time.sleep(0.01)
    time.sleep(at_s)
    processes = _children(launcher.pid)
    number = signal.SIGINT if kind == KINDS[1] else signal.SIGTERM
    if kind == KINDS[2] and processes:
        told = [draws.choice(processes)]
    else:
        told = [launcher.pid, *(processes if kind == KINDS[1] else [])]
    began = time.monotonic()
    for pid in told:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
    wrong = ""
    try:
        launcher.wait(_PATIENCE_S)
    except subprocess.TimeoutExpired:
        wrong = "hangs"
        launcher.kill()
        launcher.wait()
    left = [pid for pid in processes if Path(f"/proc/{pid}").exists()]
    left_s = time.monotonic() - began
    said = (root / "stderr").read_text()
    code = launcher.returncode if launcher.returncode >= 0 else 128 - launcher.returncode
    if left:
        wrong = f"processes {left} are still here"
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    elif code not in (0, 128 + number):
        wrong = f"exit {code}: {said[-500:]}"
    elif "Traceback" in said:
        wrong = said
    outcome, problem = _go_on(run, code, said, expected)
    return Stopped(kind, after, at_s, code, left_s, outcome, wrong or problem)


def _n_epochs(run: Path) -> int:
    metrics = run / "metrics.jsonl"
    return metrics.read_bytes().count(b"\n") if metrics.exists() else -1


def _go_on(run: Path, code: int, said: str, expected: tuple[str, list[object]]) -> tuple[str, str]:
    """Return what the stop left, and what is wrong with it after going on to the end."""
    from sentiment_cli.config.loader import load_experiment
    from sentiment_cli.workflows.train import resume

    if not (run / "experiment.yaml").exists():
        return "no run", "exit 0 without a run" if code == 0 else ""
    outcome = "finished" if code == 0 else "step saved" if "which is saved" in said else "stopped at once"
    console.mute()
    resume(run, load_experiment(run / "experiment.yaml"), ())
    return outcome, "" if _outcome(run) == expected else "other bytes"


def _report(found: list[Stopped]) -> None:
    print("\n| signal | stops | left within 5 s | slowest | right exit code and bytes | what it left |")
    print("|---|---:|---:|---:|---:|---|")
    for kind in (*KINDS, "all"):
        of_kind = [one for one in found if kind in (one.kind, "all")]
        if of_kind:
            in_time = sum(one.left_s <= _IN_TIME_S for one in of_kind)
            slowest = max(one.left_s for one in of_kind)
            right = sum(not one.wrong for one in of_kind)
            left = ", ".join(f"{n} {what}" for what, n in Counter(one.outcome for one in of_kind).most_common())
            print(f"| {kind} | {len(of_kind)} | {in_time} | {slowest:.1f} s | {right} | {left} |")


def _start(root: Path, epochs: int, name: str) -> subprocess.Popen[bytes]:
    settings = [*_SETTINGS, f"data.source={root / 'reviews.csv'}", f"train.epochs={epochs}"]
    command = [sys.executable, "-m", "sentiment_cli", "train", "sample", "--nproc", "2", "--name", name]
    command += [part for setting in settings for part in ("--set", setting)]
    with (root / "stderr").open("wb") as said:
        return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=said, start_new_session=True)


def _children(pid: int) -> list[int]:
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def _outcome(run: Path) -> tuple[str, list[object]]:
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    for row in rows:
        del row["tokens_per_second"], row["seconds"]
    return hashlib.sha256((run / "model" / "weights.safetensors").read_bytes()).hexdigest(), rows


def _write_reviews(path: Path) -> None:
    reviews = [review for split, review in sample.generate_reviews() if split == "train"]
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([("text", "label"), *((review.text, review.label) for review in reviews[::5])])


@contextlib.contextmanager
def _busy(n_loops: int) -> Iterator[None]:
    fork = multiprocessing.get_context("fork")
    loops = [fork.Process(target=_spin, args=(os.getpid(),), daemon=True) for _ in range(n_loops)]
    for loop in loops:
        loop.start()
    try:
        yield
    finally:
        for loop in loops:
            loop.terminate()


def _spin(parent: int) -> None:
    while os.getppid() == parent:
        pass


if __name__ == "__main__":
    main()
