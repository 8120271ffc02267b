"""Training speed relative to the classic loop with the same cell, vocabulary and length, in reviews per second.

The classic loop: batches of 32 rows padded to 512 tokens by a Python function per example, a dense Adam over 121,365
embeddings of 100, `nn.RNN` of width 32 over the padding too, the loss read at every step, in a process of its own with
torch as it comes. Ours: the same embedding, cell, vocabulary and maximum length, with batches planned by length and cut
on the device, a fused Adam, and the memory settings of training. Both take turns, so that a machine that slows down
slows both.

    python benchmarks/classic_loop.py [--seconds 20] [--batch-tokens 131072] [--lazy]
"""

import argparse
import multiprocessing
import os
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection

os.environ.setdefault("GOMP_SPINCOUNT", "1000")

import numpy as np
import torch
from torch import Tensor, nn

from sentiment_cli.config.loader import load_experiment
from sentiment_cli.data.batching.batches import cut, plan_steps, rows_on
from sentiment_cli.data.batching.truncation import read_lengths
from sentiment_cli.data.corpus.packed import Packed
from sentiment_cli.data.corpus.prepare import prepare
from sentiment_cli.data.tokens.vocabulary import Vocabulary
from sentiment_cli.models.classifier import build_classifier
from sentiment_cli.models.device import describe, select_device, set_up
from sentiment_cli.training.loop import train_steps
from sentiment_cli.training.losses.labels import classification_loss
from sentiment_cli.training.optimizer import build_optimizer

_WORDS, _WIDTH, _LENGTH, _ROWS, _STATE = 121_365, 100, 512, 32, 32
_TURN_S = 2.0


class ClassicModel(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(_WORDS, _WIDTH)
        self.rnn = nn.RNN(_WIDTH, _STATE, batch_first=True)
        self.output = nn.Linear(_STATE, 1)

    def forward(self, ids_BL: Tensor) -> Tensor:
        states_BLD, _ = self.rnn(self.embedding(ids_BL))
        return torch.sigmoid(self.output(states_BLD[:, -1])).squeeze(1)


def serve_classic(pipe: Connection, packed: Packed, device: torch.device) -> None:
    """For each number of seconds that comes, train so long; answer with reviews and seconds."""
    loop = classic(packed, device)
    while seconds := pipe.recv():
        pipe.send(train_for(seconds, loop, device))


def train_for(seconds: float, loop: Iterator[int], device: torch.device) -> tuple[int, float]:
    began, reviews = time.perf_counter(), 0
    while time.perf_counter() - began < seconds:
        reviews += next(loop)
    if device.type == "cuda":
        torch.cuda.synchronize()
    return reviews, time.perf_counter() - began


def classic(packed: Packed, device: torch.device) -> Iterator[int]:
    """Train the classic way; yield the number of reviews of each step."""
    texts = np.split(packed.ids_T, packed.starts_N1[1:-1])

    class Reviews(torch.utils.data.Dataset[tuple[Tensor, Tensor]]):
        def __len__(self) -> int:
            return len(texts)

        def __getitem__(self, i: int) -> tuple[Tensor, Tensor]:
            ids = [int(token) for token in texts[i][:_LENGTH]]
            return torch.tensor([0] * (_LENGTH - len(ids)) + ids), torch.tensor(float(packed.label_N[i]))

    model = ClassicModel().to(device)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    loss_of = nn.BCELoss()
    while True:
        for ids_BL, label_B in torch.utils.data.DataLoader(Reviews(), batch_size=_ROWS, shuffle=True):
            optimizer.zero_grad()
            loss = loss_of(model(ids_BL.to(device)), label_B.to(device))
            loss.backward()
            optimizer.step()
            loss.item()
            yield len(label_B)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=20.0, help="of each")
    parser.add_argument("--batch-tokens", type=int, default=131_072)
    parser.add_argument("--lazy", action="store_true", help="ours updates the word vectors that a batch reads alone")
    arguments = parser.parse_args()
    settings = ["text.pad=none", "text.pad_to=null", f"train.batch_tokens={arguments.batch_tokens}"]
    settings += ["train.lazy_embeddings=true"] * arguments.lazy
    experiment = load_experiment("tutorial-rnn", settings)
    device = select_device(experiment.train.device)
    packed = prepare(experiment, ("train",)).split("train")
    pipe, theirs = multiprocessing.Pipe()
    context = multiprocessing.get_context("spawn")
    context.Process(target=serve_classic, args=(theirs, packed, device), daemon=True).start()
    set_up(device, None)
    read_N = np.where(packed.length_N > 0, read_lengths(packed.length_N, experiment.text), 0)
    plan = plan_steps(read_N, experiment.train, 0)
    torch.manual_seed(0)
    model = build_classifier(experiment, Vocabulary(("",) * _WORDS, 0), 2).to(device)
    steps = train_steps(
        model.train(),
        classification_loss,
        cut(plan, rows_on(device, packed), read_N, experiment),
        build_optimizer(model, experiment.train),
        lambda step: 1e-3,
        seed=0,
        bf16=False,
        max_grad_norm=None,
    )
    ours = (len(plan.rows[step.number]) for step in steps)
    reviews, seconds = {"classic": 0, "ours": 0}, {"classic": 0.0, "ours": 0.0}
    is_warm = False
    while seconds["ours"] < arguments.seconds:
        pipe.send(_TURN_S)
        for name, (n, spent) in (("classic", pipe.recv()), ("ours", train_for(_TURN_S, ours, device))):
            reviews[name] += n * is_warm
            seconds[name] += spent * is_warm
        is_warm = True
    pipe.send(0)
    print(f"RNN of width {_STATE} over {_WORDS:,} embeddings of {_WIDTH} on {describe(device)}, fp32")
    rates = {name: reviews[name] / seconds[name] for name in reviews}
    for name, rate in rates.items():
        print(f"{name:>8} {rate:>10,.0f} reviews/s")
    print(f"   ratio {rates['ours'] / rates['classic']:>10.1f}")


if __name__ == "__main__":
    main()
