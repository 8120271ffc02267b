"""What `sentiment` does on a real GPU: the most telling section first, each by itself, none begun after nine minutes.

    python benchmarks/gpu.py [--seconds 540] [--only SECTION ...] [--out gpu.json] [--page docs/gpu.md]

Results go to a JSON file; with --page also into that page, between its marks, with GPU and commit. A section that
fails says so, and the next one begins; none begins after --seconds. The sections `train` and `memory` need IMDb, in
SENTIMENT_IMDB or prepared in SENTIMENT_DATA. With --dry everything is small, for the pretended device:

    PYTHONPATH=tests/support:benchmarks python -m pretended_cuda benchmarks/gpu.py --dry
"""

import argparse
import collections
import contextlib
import itertools
import json
import re
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from made_up import MadeUp, corpus_for, made_small

from sentiment_cli import console
from sentiment_cli.config.loader import load_experiment
from sentiment_cli.config.recipes import recipe_names
from sentiment_cli.config.schema import Experiment
from sentiment_cli.data.corpus.packed import Corpus
from sentiment_cli.data.corpus.prepare import prepare
from sentiment_cli.models.cells import fused
from sentiment_cli.models.cells.lstm import Lstm
from sentiment_cli.models.device import gpu_facts, set_up
from sentiment_cli.models.layers.encoders import CELLS
from sentiment_cli.training.epochs import run_epochs
from sentiment_cli.workflows.profile import begin_training, endless_steps

CUDA = torch.device("cuda")
ROOT = Path(__file__).resolve().parents[1]
MARKS = r"(?s)<!-- measured -->\n.*?<!-- end of measured -->"
TARGET, TARGET_WITHIN = 0.8995, 0.005  # of lstm-bi.yaml on validation, on a CPU
SCANS = ("lstm-peephole", "goru", "orthogonal")
IN_KERNELS = ("lstm-peephole", "goru", "orthogonal", "rnn-output", "sru")
Found = dict[str, Any]


def now() -> float:
    torch.cuda.synchronize()
    return time.perf_counter()


def versions(dry: bool) -> Iterator[tuple[str, Any]]:
    """The GPU and its libraries, and the commit."""
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, cwd=ROOT)
    yield "commit", commit.stdout.strip() or "unknown"
    yield from gpu_facts(CUDA).items()
    yield "torch", torch.__version__
    yield "nccl", None if dry else torch.cuda.nccl.version()


def precision(dry: bool) -> Iterator[tuple[str, Any]]:
    """Errors of an LSTM's gradients under autocast against float32, at the scale of mean pooling; its kernels."""
    torch.manual_seed(0)
    rows, length, width = (4, 20, 8) if dry else (80, 400, 128)
    layer, input_BLD = Lstm(width, width).cuda(), torch.randn(rows, length, width, device=CUDA)

    def gradients(dtype: torch.dtype | None) -> tuple[torch.dtype, list[torch.Tensor]]:
        layer.zero_grad()
        with torch.autocast("cuda", dtype=dtype or torch.bfloat16, enabled=dtype is not None):
            states_BLD, _ = layer(input_BLD if dtype is None else input_BLD.to(dtype))
        (states_BLD.float().mean(dim=2).sum() / (rows * length)).backward()
        return states_BLD.dtype, [p.grad.double() for p in layer.parameters() if p.grad is not None]

    _, exact = gradients(None)
    for dtype in (torch.bfloat16, torch.float16):
        states, found = gradients(dtype)
        errors = [float((a - b).norm() / b.norm()) for a, b in zip(found, exact, strict=True)]
        yield f"autocast {dtype}", {"states": str(states), "errors of W, U, b, c": [f"{error:.2%}" for error in errors]}
    if not dry:
        yield "kernels", kernels_of(lambda: gradients(torch.bfloat16))[0].most_common(8)


def train(dry: bool) -> Iterator[tuple[str, Any]]:
    """lstm-bi.yaml to its end: validation accuracy, seconds, and seconds until 89 %."""
    for settings in ([], ["train.precision=fp32"], ["train.batch_tokens=131072", "train.lr=6e-3"]):
        with quiet_run("lstm-bi", [*settings, "train.checkpoint_minutes=null"], dry) as (experiment, corpus, run):
            state, _ = begin_training(experiment, corpus, CUDA, run)
            began = now()
            run_epochs(state)
            spent, progress = now() - began, state.job.progress
            rows, seconds = progress.history, itertools.accumulate(row["seconds"] for row in progress.history)
            reached = (s for s, row in zip(seconds, rows, strict=True) if row["valid_accuracy"] >= 0.89)
            best = progress.best.scores
            assert best is not None
            yield (
                f"lstm-bi {' '.join(settings)}".strip(),
                {
                    "accuracy": best.accuracy,
                    "meets the CPU's": abs(best.accuracy - TARGET) <= TARGET_WITHIN,
                    "seconds": spent,
                    "seconds to 89 %": next(reached, None),
                    "tokens/s": progress.n_tokens / progress.seconds["train"],
                },
            )


def recipes(dry: bool) -> Iterator[tuple[str, Any]]:
    """A step of every recipe at its own size: time, tokens/s, kernels, share of time they take, waits, memory."""
    draw = np.random.default_rng(0)
    length_N = np.clip(draw.lognormal(5.2, 0.65, 2500), 10, 2400).astype(np.int64)  # as IMDb's reviews
    for name in recipe_names():
        experiment = load_experiment(name)
        if experiment.model.kind == "linear":
            continue
        try:
            yield name, step_of(name, length_N, dry)
        except Exception as error:  # the next recipe is another matter
            yield name, f"{type(error).__name__}: {str(error).splitlines()[0][:160]}"


def step_of(name: str, length_N: Any, dry: bool) -> Found:
    if dry:
        experiment = made_small(name, 16)
        corpus: Corpus = corpus_for(experiment)
    else:
        more = [] if load_experiment(name).task == "classify" else ["data.valid.unsup_share=0.1"]
        experiment = load_experiment(name, ["teacher.run=null", *more] if load_experiment(name).teacher.run else more)
        corpus = MadeUp(length_N, experiment.vocabulary.size or 50_000, ("neg", "pos"))
    with tempfile.TemporaryDirectory() as folder:
        state, loader = begin_training(experiment, corpus, CUDA, Path(folder))
        steps, numbers = endless_steps(state, loader), itertools.cycle(range(loader.n_steps))
        for _ in range(1 if dry else 4):
            next(steps), next(numbers)
        n_steps, n_tokens, began = 1 if dry else 10, 0, now()
        for _ in range(n_steps):
            next(steps)
            n_tokens += loader.tokens(next(numbers))
        spent = now() - began
        found: Found = {"ms/step": 1e3 * spent / n_steps, "tokens/s": n_tokens / spent}
        if dry:
            return found
        kernels, busy = kernels_of(lambda: next(steps))
        torch.cuda.set_sync_debug_mode("warn")
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            next(steps)
        torch.cuda.set_sync_debug_mode("default")
        waits = sum("synchroniz" in str(warning.message) for warning in said)
        gib = torch.cuda.max_memory_allocated() / 2**30
        return {**found, "kernels": kernels.total(), "busy": busy, "waits": waits, "GiB": gib}


def tests(dry: bool) -> Iterator[tuple[str, Any]]:
    """The suite's own tests that need a GPU."""
    if not dry:
        command = [sys.executable, "-m", "pytest", "-q", "-m", "gpu", "-p", "no:cacheprovider", "tests/models"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=200, cwd=ROOT)
        yield "pytest -m gpu", [line[:200] for line in done.stdout.splitlines() if line.startswith(("E  ", "FAILED"))]
        yield "result", done.stdout.splitlines()[-1]


def cells(dry: bool) -> Iterator[tuple[str, Any]]:
    """Every cell against the CPU in float32, and its time a token in float32 and bf16."""
    rows, length, width = (2, 7, 4) if dry else (64, 256, 128)
    for name, build in CELLS.items():
        torch.manual_seed(0)
        cell, input_BLD = build(width, width), torch.randn(rows, length, width)
        ends_BL = (torch.arange(length) % 20 == 19).expand(rows, length)
        more = (torch.full((rows,), length), ends_BL) if name == "lstm-2d" else ()

        def read(device: str, dtype: torch.dtype | None, cell: Any = cell, given: Any = (input_BLD, *more)) -> Any:
            own = cell.to(device)
            own.zero_grad()
            x_BLD = given[0].clone().to(device).requires_grad_()
            with torch.autocast(device, dtype=torch.bfloat16, enabled=dtype is not None):
                states_BLD = own(x_BLD, *(one.to(device) for one in given[1:]))[0]
            states_BLD.float().square().mean().backward()
            return states_BLD.detach().float().cpu(), x_BLD.grad.float().cpu()

        (states, grad), (own_states, own_grad) = read("cpu", None), read("cuda", None)
        found: Found = {
            "states": float((own_states - states).abs().max()),
            "gradient": float((own_grad - grad).norm() / grad.norm()),
        }
        for dtype in (None, torch.bfloat16):
            times = []
            for _ in range(1 if dry else 3):
                began = now()
                read("cuda", dtype)
                times.append(now() - began)
            found[f"us/token {'bf16' if dtype else 'fp32'}"] = 1e6 * min(times) / (rows * length)
        yield name, found


def fused_scans(dry: bool) -> Iterator[tuple[str, Any]]:
    """The Triton kernels of the scans against the loops in PyTorch: numbers, launches, time forward and backward."""
    rows, length, width = (2, 7, 4) if dry else (80, 400, 128)
    why_no_kernels = fused.why_no_kernels  # replaced below, so that both ways run
    yield "missing", why_no_kernels()
    for name, share in (*((name, 0.0) for name in IN_KERNELS), ("lstm", 0.3), ("gru", 0.3)):
        torch.manual_seed(0)
        cell = CELLS[name](width, width, **({"state_dropout": share} if share else {})).cuda()
        x_BLD = torch.randn(rows, length, width, device=CUDA, requires_grad=True)

        def step(dtype: torch.dtype | None, cell: Any = cell, x_BLD: torch.Tensor = x_BLD) -> list[torch.Tensor]:
            torch.manual_seed(1)  # of the mask of state dropout
            with torch.autocast("cuda", dtype=torch.bfloat16, enabled=dtype is not None):
                states_BLD = cell(x_BLD)[0]
            grads = torch.autograd.grad(states_BLD.float().square().mean(), [x_BLD, *cell.parameters()])
            return [states_BLD.detach().float(), *grads]

        for dtype in (None, torch.bfloat16):
            found: Found = {}
            results = {}
            for way, reason in (("loop", "it is measured against the kernel"), ("kernel", None)):
                fused.why_no_kernels = lambda reason=reason: reason
                results[way] = step(dtype)
                times = []
                for _ in range(1 if dry else 5):
                    began = now()
                    step(dtype)
                    times.append(now() - began)
                found[f"{way}, us a token of length"] = 1e6 * min(times) / length
                if not dry:
                    found[f"{way}, launches"] = kernels_of(lambda dtype=dtype: step(dtype))[0].total()
            pairs = list(zip(results["kernel"], results["loop"], strict=True))
            found["furthest state"] = float((pairs[0][0] - pairs[0][1]).abs().max())
            found["gradients off by"] = max(float((a - b).norm() / b.norm().clamp(min=1e-12)) for a, b in pairs[1:])
            yield f"{name}{' with state dropout' if share else ''}, {'bf16' if dtype else 'fp32'}", found
    fused.why_no_kernels = why_no_kernels


def repeats(dry: bool) -> Iterator[tuple[str, Any]]:
    """train.deterministic: two trainings of 30 steps end with the same bits."""
    for cell in ("lstm", "gru", "mingru", "lstm-peephole"):
        ends = []
        for _ in range(2):
            experiment = made_small("lstm-bi", 16 if dry else 400, [f"model.encoder.cell={cell}"])
            set_up(CUDA, None, deterministic=True)
            with tempfile.TemporaryDirectory() as folder:
                state, loader = begin_training(experiment, corpus_for(experiment), CUDA, Path(folder))
                collections.deque(itertools.islice(endless_steps(state, loader), 2 if dry else 30), maxlen=0)
            ends.append([p.detach().cpu() for p in state.model.parameters()])
            torch.set_deterministic_debug_mode("default")
        yield cell, all(torch.equal(one, other) for one, other in zip(*ends, strict=True))


def memory(dry: bool) -> Iterator[tuple[str, Any]]:
    """A batch that is too large for a share of the memory is split, and training goes on."""
    if dry:
        return
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(0.02)
    settings = ["train.batch_tokens=1000000", "train.on_memory_error=split", "train.max_steps=3", "train.epochs=1"]
    try:
        with quiet_run("lstm-bi", settings, dry) as (experiment, corpus, run):
            state, _ = begin_training(experiment, corpus, CUDA, run)
            run_epochs(state)
            yield "slices", state.job.progress.split
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)


def graphs(dry: bool) -> Iterator[tuple[str, Any]]:
    """What a CUDA graph would give cells that run step by step in Python: forward and backward, replayed."""
    for name in () if dry else SCANS:
        torch.manual_seed(0)
        cell, x_BLD = CELLS[name](128, 128).cuda(), torch.randn(80, 400, 128, device=CUDA, requires_grad=True)

        def step(cell: Any = cell, x_BLD: torch.Tensor = x_BLD) -> None:
            states_BLD = cell(x_BLD)[0]
            torch.autograd.grad(states_BLD, [x_BLD, *cell.parameters()], torch.ones_like(states_BLD))

        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            step()
            step()
        torch.cuda.current_stream().wait_stream(side)
        began = now()
        step()
        eager, graph = now() - began, torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            step()
        graph.replay()
        began = now()
        graph.replay()
        yield name, {"ms": 1e3 * eager, "ms as a graph": 1e3 * (now() - began)}


def kernels_of(work: Callable[[], object]) -> tuple["collections.Counter[str]", float]:
    """Return the kernels that some work runs, and the share of its time that they take."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profiler:
        began = now()
        work()
        spent = now() - began
    events = [event for event in profiler.key_averages() if event.device_type == torch.autograd.DeviceType.CUDA]
    busy = sum(event.self_device_time_total for event in events) / 1e6 / spent
    return collections.Counter({event.key[:80]: event.count for event in events}), busy


@contextlib.contextmanager
def quiet_run(name: str, settings: list[str], dry: bool) -> Iterator[tuple[Experiment, Corpus, Path]]:
    """Yield an experiment on its own corpus, with --dry a small one on made-up rows, and a folder for its run."""
    with tempfile.TemporaryDirectory() as folder:
        if dry:
            small = [setting for setting in settings if "batch_tokens" not in setting]
            experiment = made_small(name, 16, [*small, "train.max_steps=2"])
            yield experiment, corpus_for(experiment), Path(folder)
        else:
            experiment = load_experiment(name, settings)
            yield experiment, prepare(experiment, ("train", "valid")), Path(folder)


SECTIONS = (versions, precision, train, fused_scans, recipes, tests, cells, repeats, memory, graphs)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=540)
    parser.add_argument("--only", nargs="+", choices=[section.__name__ for section in SECTIONS])
    parser.add_argument("--out", type=Path, default=Path("gpu.json"))
    parser.add_argument("--page", type=Path)
    parser.add_argument("--dry", action="store_true")
    arguments = parser.parse_args()
    if not torch.cuda.is_available():
        sys.exit("this needs a GPU; without one, see the last line of --help")
    console.say = lambda *texts, **options: None
    set_up(CUDA, None)
    began, results = time.monotonic(), dict[str, Found]()
    for section in SECTIONS:
        name = section.__name__
        if arguments.only and name not in arguments.only:
            continue
        if time.monotonic() - began > arguments.seconds:
            print(f"## {name}: no time is left", flush=True)
            continue
        found, start = results.setdefault(name, {}), time.monotonic()
        print(f"## {name}", flush=True)
        try:
            for key, value in section(arguments.dry):
                found[key] = value
                print(f"{key}: {shown(value)}", flush=True)
                arguments.out.write_text(json.dumps(results, indent=1, default=str) + "\n", "utf-8")
        except Exception as error:  # the next section is another matter
            found["failed"] = repr(error)[:300]
            traceback.print_exc(file=sys.stdout)
        print(f"## {name}: {time.monotonic() - start:.0f} s", flush=True)
    arguments.out.write_text(json.dumps(results, indent=1, default=str) + "\n", "utf-8")
    if arguments.page is not None:
        page = arguments.page.read_text("utf-8")
        arguments.page.write_text(re.sub(MARKS, lambda _: page_of(results), page), "utf-8")


def shown(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {shown(one)}" for key, one in value.items())
    return f"{value:,.4g}" if isinstance(value, float) else str(value)


def page_of(results: dict[str, Found]) -> str:
    """Return the results as Markdown, between the marks."""
    lines = ["<!-- measured -->", ""]
    for name, found in results.items():
        if found:
            lines += [f"### {name}", "", "| what | found |", "|---|---|"]
            lines += [f"| {key} | {shown(value).replace('|', ' ')} |" for key, value in found.items()] + [""]
    return "\n".join([*lines, "<!-- end of measured -->"])


if __name__ == "__main__":
    main()
