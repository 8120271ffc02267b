"""Training speed as a share of the bare encoder's speed.

Training: real tokens per second of the experiment's own steps (embedding, encoder, pooling, loss, backward, clipping,
optimizer), data already on the device, validation and saving left out. Reference: the same encoder alone, forward and
backward in the same precision, on random inputs of the same rectangles. The two take turns, so that a machine that
slows down slows both. With --compiled the other is the same training by torch.compile, its compilation not counted.

    python benchmarks/throughput.py [CONFIG] [--set KEY=VALUE]... [--steps 60] [--compiled]
"""

import argparse
import copy
import itertools
import os
import time
from collections.abc import Iterator

os.environ.setdefault("GOMP_SPINCOUNT", "1000")

import torch

from sentiment_cli.config.loader import load_experiment
from sentiment_cli.data.batching.batches import Batch, cut, plan_steps, rows_on
from sentiment_cli.data.batching.truncation import read_lengths
from sentiment_cli.data.corpus.prepare import prepare
from sentiment_cli.models.classifier import Classifier, build_classifier
from sentiment_cli.models.device import describe, runs_bf16, select_device, set_up
from sentiment_cli.training.loop import Step, train_steps
from sentiment_cli.training.losses.labels import classification_loss
from sentiment_cli.training.optimizer import build_optimizer

_WARM_UP = 5
_TURN = 5  # steps of each before the other's turn


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("config", nargs="?")
    parser.add_argument("--set", dest="override", action="append", default=[])
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--compiled", action="store_true")
    arguments = parser.parse_args()
    experiment = load_experiment(arguments.config, arguments.override)
    device = select_device(experiment.train.device)
    set_up(device, experiment.train.threads)
    bf16 = runs_bf16(device, experiment.train.precision)
    corpus = prepare(experiment, ("train",))
    packed = corpus.split("train")
    read_N = read_lengths(packed.length_N, experiment.text)
    plan = plan_steps(read_N, experiment.train, experiment.seed)
    torch.manual_seed(experiment.seed)
    model = build_classifier(experiment, corpus.vocabulary, len(corpus.labels)).to(device)
    batches = list(itertools.islice(cut(plan, rows_on(device, packed), read_N, experiment), _WARM_UP + arguments.steps))

    def training(model: Classifier) -> Iterator[Step]:
        return train_steps(
            model.train(),
            classification_loss,
            batches,
            build_optimizer(model, experiment.train),
            lambda step: experiment.train.lr,
            seed=experiment.seed,
            bf16=bf16,
            max_grad_norm=experiment.train.max_grad_norm,
        )

    steps = training(model)
    twin = copy.deepcopy(model)
    if arguments.compiled:
        twin.compile(dynamic=True)
    compiled_steps = training(twin)
    most = max(batch.ids_BL.numel() for batch in batches)
    noise_T = torch.randn(most * experiment.model.embedding.width, device=device)

    def encode(batch: Batch) -> None:
        shape = (*batch.ids_BL.shape, experiment.model.embedding.width)
        input_BLD = noise_T[: batch.ids_BL.numel() * shape[2]].view(shape).detach().requires_grad_()
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=bf16):
            states_BLD = model.encoder(input_BLD, batch.length_B).states_BLD
        states_BLD.sum().backward()
        model.encoder.zero_grad(set_to_none=True)

    def other(batch: Batch) -> None:
        if arguments.compiled:
            next(compiled_steps)
        else:
            encode(batch)

    began = _now(device)
    for batch in batches[:_WARM_UP]:
        next(steps)
        other(batch)
    print(f"warm-up {_now(device) - began:.0f} s")
    name = "compiled" if arguments.compiled else "encoder"
    spent = {"training": 0.0, name: 0.0}
    tokens = 0
    for start in range(_WARM_UP, len(batches), _TURN):
        turn = batches[start : start + _TURN]
        tokens += sum(int(batch.length_B.sum()) for batch in turn)
        began = _now(device)
        for _ in turn:
            next(steps)
        middle = _now(device)
        for batch in turn:
            other(batch)
        spent["training"] += middle - began
        spent[name] += _now(device) - middle
    rates = {name: tokens / seconds for name, seconds in spent.items()}
    print(f"{experiment.name} on {describe(device)}, {'bf16' if bf16 else 'fp32'}, {len(batches) - _WARM_UP} steps")
    for what, rate in rates.items():
        print(f"{what:>9} {rate:>12,.0f} tokens/s")
    print(f"    ratio {rates['training'] / rates[name]:>12.3f}")


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


if __name__ == "__main__":
    main()
