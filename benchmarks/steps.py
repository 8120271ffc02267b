"""Cost of a training step: over widths, batch sizes and OpenMP settings, alone and beside another job.

    python benchmarks/steps.py [--widths 64 128 256] [--batch-tokens 8192 16384 32768 65536] [--seconds 8]
    python benchmarks/steps.py --beside [--seconds 20]

The first prints, for default.yaml at each width of embedding and encoder, milliseconds a step, tokens/s and the share
of the matrix products' speed measured in the same run and precision: 24 · width · 2 width operations a token and
direction are counted, those of the LSTM's products forward and backward. The second trains default.yaml in processes
of their own, alone and two at a time, with GOMP_SPINCOUNT as torch has it and as `sentiment` sets it, and with one
thread each (train.threads).
"""

import argparse
import itertools
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence

os.environ.setdefault("GOMP_SPINCOUNT", "1000")

import torch

from sentiment_cli.config.loader import load_experiment
from sentiment_cli.config.schema import Experiment
from sentiment_cli.data.batching.batches import cut, plan_steps, rows_on
from sentiment_cli.data.batching.truncation import read_lengths
from sentiment_cli.data.corpus.prepare import prepare
from sentiment_cli.models.classifier import build_classifier
from sentiment_cli.models.device import describe, runs_bf16, select_device, set_up
from sentiment_cli.training.loop import train_steps
from sentiment_cli.training.losses.labels import classification_loss
from sentiment_cli.training.optimizer import build_optimizer

_WARM_UP = 4
_PRODUCT = 2048  # rows and columns of the matrices whose product is the measure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--widths", type=int, nargs="+", default=[64, 128, 256])
    parser.add_argument("--batch-tokens", type=int, nargs="+", default=[8192, 16384, 32768, 65536])
    parser.add_argument("--seconds", type=float, default=8.0, help="of each measurement")
    parser.add_argument("--beside", action="store_true")
    parser.add_argument("--one", nargs="*", help=argparse.SUPPRESS)  # settings of a process that --beside starts
    arguments = parser.parse_args()
    if arguments.one is not None:
        print(measure(arguments.one, arguments.seconds)[0])
    elif arguments.beside:
        compare_settings(arguments.seconds)
    else:
        tabulate(arguments.widths, arguments.batch_tokens, arguments.seconds)


def measure(settings: Sequence[str], seconds: float) -> tuple[float, float]:
    """Train default.yaml with some settings so long; return tokens/s and seconds a step."""
    steps = train(load_experiment(None, list(settings)))
    for _ in itertools.islice(steps, _WARM_UP):
        pass
    n_tokens, n_steps, spent = run_for(steps, seconds)
    return n_tokens / spent, spent / n_steps


def train(experiment: Experiment) -> Iterator[int]:
    """Train step by step, each done when it is yielded, and give the number of tokens that it read."""
    device = select_device(experiment.train.device)
    set_up(device, experiment.train.threads)
    corpus = prepare(experiment, ("train",))
    packed = corpus.split("train")
    read_N = read_lengths(packed.length_N, experiment.text)
    plan = plan_steps(read_N, experiment.train, 0)
    torch.manual_seed(0)
    model = build_classifier(experiment, corpus.vocabulary, len(corpus.labels)).to(device)
    steps = train_steps(
        model.train(),
        classification_loss,
        cut(plan, rows_on(device, packed), read_N, experiment),
        build_optimizer(model, experiment.train),
        lambda step: 1e-4,
        seed=0,
        bf16=runs_bf16(device, experiment.train.precision),
        max_grad_norm=experiment.train.max_grad_norm,
    )
    for step in steps:
        float(step.loss)
        yield int(read_N[plan.rows[step.number]].sum())


def run_for(steps: Iterator[int], seconds: float) -> tuple[int, int, float]:
    """Take steps for so long; return how many tokens and steps that were, and the seconds they took."""
    began, n_steps, n_tokens = time.perf_counter(), 0, 0
    while time.perf_counter() - began < seconds:
        n_tokens += next(steps)
        n_steps += 1
    return n_tokens, n_steps, time.perf_counter() - began


def products_per_second(device: torch.device, dtype: torch.dtype) -> float:
    """Return the floating-point operations per second of a large matrix product."""
    one = torch.randn(_PRODUCT, _PRODUCT, device=device, dtype=dtype)
    best = float("inf")
    for _ in range(10):
        began = time.perf_counter()
        one @ one
        if device.type == "cuda":
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - began)
    return 2 * _PRODUCT**3 / best


def tabulate(widths: Sequence[int], batch_tokens: Sequence[int], seconds: float) -> None:
    experiment = load_experiment(None, [])
    device = select_device(experiment.train.device)
    set_up(device, experiment.train.threads)
    dtype = torch.bfloat16 if runs_bf16(device, experiment.train.precision) else torch.float32
    peak = products_per_second(device, dtype)
    print(f"{describe(device)}, {dtype}: matrix products {peak / 1e9:,.0f} GFLOP/s")
    print("width  batch tokens   ms/step   tokens/s   share of it")
    for width in widths:
        for tokens in batch_tokens:
            sizes = [f"model.embedding.width={width}", f"model.encoder.width={width}", f"train.batch_tokens={tokens}"]
            rate, step_s = measure(sizes, seconds)
            share = rate * 2 * 24 * width * (width + width) / peak
            print(f"{width:>5}  {tokens:>12,}  {step_s * 1e3:>8.0f}  {rate:>9,.0f}  {share:>11.1%}", flush=True)


def compare_settings(seconds: float) -> None:
    print("GOMP_SPINCOUNT  threads      alone   two at a time, each   (tokens/s)")
    for spin, threads in (("as torch has it", 2), ("1000", 2), ("1000", 1)):
        rates = [start_and_read(n, spin, threads, seconds) for n in (1, 2)]
        print(f"{spin:>15}  {threads:>7}  {rates[0]:>9,.0f}  {rates[1]:>20,.0f}", flush=True)


def start_and_read(n: int, spin: str, threads: int, seconds: float) -> float:
    """Train in n processes at once; return their mean tokens/s."""
    environment = {key: value for key, value in os.environ.items() if key != "GOMP_SPINCOUNT"}
    # The script sets its own default, so that torch's is asked for by its number, 30 billion.
    environment["GOMP_SPINCOUNT"] = "30000000000" if spin == "as torch has it" else spin
    command = [sys.executable, __file__, "--seconds", str(seconds), "--one", f"train.threads={threads}"]
    jobs = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment)
        for _ in range(n)
    ]
    return sum(float(job.communicate()[0].split()[-1]) for job in jobs) / n


if __name__ == "__main__":
    main()
