"""Cost per token of each recurrent cell, forward and backward, relative to torch's nn.LSTM.

Every layer of `model.encoder.cell` reads the same random batch and takes the gradient of all its weights and of the
input. In each round they take turns, so that a machine that slows down slows all; the figure is the median of the
rounds, and the ratio the median of each round's own.

    python benchmarks/cells.py [--rounds 7] [--rows 64] [--tokens 256] [--width 128] [--state-dropout 0] [--bf16]
                               [--threads 2] [--device cpu] [--json]
"""

import argparse
import json
import os
import statistics
import time

os.environ.setdefault("GOMP_SPINCOUNT", "1000")

import torch
from torch import Tensor, nn

from sentiment_cli.models.cells.lstm_2d import Lstm2d
from sentiment_cli.models.device import describe, set_up
from sentiment_cli.models.layers.encoders import CELLS

_TORCHS = "nn.LSTM"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, value in (("rounds", 7), ("rows", 64), ("tokens", 256), ("width", 128), ("threads", 2)):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--state-dropout", type=float, default=0.0, help="of the cells that take it")
    parser.add_argument("--bf16", action="store_true")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    set_up(device, arguments.threads)
    torch.manual_seed(0)
    layers = {_TORCHS: nn.LSTM(arguments.width, arguments.width, batch_first=True)}
    for cell, build in CELLS.items():
        layers[cell] = build(arguments.width, arguments.width)
        if arguments.state_dropout and hasattr(layers[cell], "state_dropout"):
            layers[cell].state_dropout = arguments.state_dropout
    input_BLD = torch.randn(arguments.rows, arguments.tokens, arguments.width, device=device).requires_grad_()
    seconds: dict[str, list[tuple[float, float]]] = {cell: [] for cell in layers}
    for round_ in range(arguments.rounds + 1):
        for cell, layer in layers.items():
            spent = _read(layer.to(device), input_BLD, bf16=arguments.bf16)
            if round_:  # the first warms up
                seconds[cell].append(spent)
    n_tokens = arguments.rows * arguments.tokens
    rows = []
    for cell, spent in seconds.items():
        ratios = [sum(own) / sum(torchs) for own, torchs in zip(spent, seconds[_TORCHS], strict=True)]
        forward, backward = (statistics.median(times[i] for times in spent) / n_tokens * 1e6 for i in (0, 1))
        both = statistics.median([one + other for one, other in spent]) / n_tokens * 1e6
        figures = {"forward_us": forward, "backward_us": backward, "both_us": both, "ratio": statistics.median(ratios)}
        rows.append({"cell": cell, **{name: round(figure, 2) for name, figure in figures.items()}})
    if arguments.json:
        print(json.dumps({"device": describe(device), **vars(arguments), "cells": rows}))
        return
    what = f"{arguments.rows} x {arguments.tokens}, width {arguments.width}, {'bf16' if arguments.bf16 else 'fp32'}"
    print(f"{what}, {describe(device)}, median of {arguments.rounds} rounds, microseconds a token")
    print(f"{'cell':<14} {'forward':>8} {'backward':>9} {'both':>7}  of nn.LSTM")
    for row in rows:
        times = f"{row['forward_us']:8.2f} {row['backward_us']:9.2f} {row['both_us']:7.2f}"
        print(f"{row['cell']:<14} {times} {row['ratio']:9.2f}x")


def _read(layer: nn.Module, input_BLD: Tensor, *, bf16: bool) -> tuple[float, float]:
    """Return the seconds of one reading and of its gradient."""
    began = _now(input_BLD.device)
    with torch.autocast(input_BLD.device.type, dtype=torch.bfloat16, enabled=bf16):
        states_BLD = layer(input_BLD.bfloat16() if bf16 else input_BLD, *_told(layer, input_BLD))[0]
    middle = _now(input_BLD.device)
    torch.autograd.grad(states_BLD, [input_BLD, *layer.parameters()], torch.ones_like(states_BLD), allow_unused=True)
    return middle - began, _now(input_BLD.device) - middle


def _told(layer: nn.Module, input_BLD: Tensor) -> tuple[Tensor, ...]:
    """Return what an LSTM over sentences and words is told besides: sentences of 20 words."""
    if not isinstance(layer, Lstm2d):
        return ()
    batch, length, _ = input_BLD.shape
    ends_L = torch.arange(length, device=input_BLD.device) % 20 == 19
    return torch.full((batch,), length, device=input_BLD.device), ends_L.expand(batch, length)


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


if __name__ == "__main__":
    main()
