"""The price of the terms beside the loss: steps of each in turn, in processor time, against steps without any.

python benchmarks/objectives.py [RECIPE] [--rounds N] [--set KEY=VALUE ...]

The ratio is the median over the rounds of the labelled tokens per second of processor time, by those of the plain step
of the same round.
"""

import argparse
import os
import statistics
import time

import torch

from sentiment_cli.config.loader import load_experiment
from sentiment_cli.training.tasks.table import prepare_for
from sentiment_cli.workflows.profile import begin_training, endless_steps

TERMS = {
    "none": (),
    "stars": ("objective.stars.weight=1",),
    "mixup": ("objective.mixup.weight=1",),
    "R-Drop": ("objective.rdrop.weight=1",),
    "adversarial": ("objective.adversarial.weight=1",),
    "virtual, training rows": ("objective.virtual.weight=1",),
    "virtual, unlabelled rows": ("objective.virtual.weight=1", "objective.virtual.rows=unsup"),
    "virtual, both": ("objective.virtual.weight=1", "objective.virtual.rows=both"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("recipe", nargs="?", default="default")
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--set", action="append", default=[], dest="settings")
    args = parser.parse_args()
    torch.set_num_threads(1)
    running, seconds = {}, {name: list[float]() for name in TERMS}
    for name, terms in TERMS.items():
        experiment = load_experiment(args.recipe, [*args.settings, *terms, "train.device=cpu"])
        state, loader = begin_training(experiment, prepare_for(experiment), torch.device("cpu"))
        running[name] = endless_steps(state, loader)  # the same rows in each, step by step
        next(running[name])
    for _ in range(args.rounds):
        for name, steps in running.items():
            began = time.process_time()
            next(steps)
            seconds[name].append(time.process_time() - began)
    print(f"{args.recipe}, one thread, {args.rounds} rounds, load {os.getloadavg()[0]:.1f}")
    for name, found in seconds.items():
        ratios = [plain / own for plain, own in zip(seconds["none"], found, strict=True)]
        print(f"{name:26} {statistics.median(found):6.2f} s a step  {statistics.median(ratios):.2f} of the tokens/s")


if __name__ == "__main__":
    main()
