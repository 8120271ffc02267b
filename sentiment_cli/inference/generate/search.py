"""Decoding of autoregressive models: greedy and beam search."""

import math
from typing import NamedTuple, Protocol, TypeVar

import torch
from torch import Tensor

_Source = TypeVar("_Source", contravariant=True)
_State = TypeVar("_State")


class DecodingModel(Protocol[_Source, _State]):
    """A model in evaluation mode that reads a token per row and returns the distribution of the next one."""

    def start(self, source: _Source) -> tuple[Tensor, _State]:
        """Return token_B, the first input of each of B rows, and the state before it."""

    def step(self, token_N: Tensor, state: _State) -> tuple[Tensor, _State, Tensor | None]:
        """Return log_probability_NV, the next state, and the attention weight_NL, if any."""

    def select(self, state: _State, row_N: Tensor) -> _State:
        """Return the state of some rows, in this order; rows of one input are adjacent and equally many."""


class Hypothesis(NamedTuple):
    """A sequence, without its end token, and its log probability in nats, with it.

    `has_ended` says that it ended by itself and was not cut off. Row t of weight_ML
    is what token t attended to, where the model attends.
    """

    tokens: tuple[int, ...]
    log_probability: float
    has_ended: bool
    weight_ML: Tensor | None


def greedy(model: DecodingModel[_Source, _State], source: _Source, *, end_id: int, max_length: int) -> list[Hypothesis]:
    """Take the likeliest token at every step, the first of equals: a beam of one. Return a hypothesis per input."""
    return [found[0] for found in beam_search(model, source, end_id=end_id, max_length=max_length, width=1)]


@torch.inference_mode()
def beam_search(
    model: DecodingModel[_Source, _State],
    source: _Source,
    *,
    end_id: int,
    max_length: int,
    width: int,
    n_best: int = 1,
) -> list[list[Hypothesis]]:
    """Return for each input up to `n_best` hypotheses, the best first, of at most `max_length` tokens with the end.

    A step keeps the `width` likeliest continuations of all that the step before kept; one that ends leaves the beam,
    which the next step fills up (Sutskever et al. 2014). An input is done when nothing in its beam can come before its
    `n_best`. Equals are ordered by their tokens' ids.
    """
    token_B, state = model.start(source)
    batch, device = len(token_B), token_B.device
    first_B1 = torch.arange(batch, device=device)[:, None] * width
    state = model.select(state, torch.arange(batch, device=device).repeat_interleave(width))
    token_BK = token_B[:, None].expand(batch, width)
    total_BK = torch.zeros(batch, width, device=device).index_fill(1, torch.arange(1, width, device=device), -torch.inf)
    trace: list[_Step] = []
    found: list[list[_Ended]] = [[] for _ in range(batch)]
    for length in range(1, max_length + 1):
        log_probability_NV, state, weight_NL = model.step(token_BK.flatten(), state)
        n_entries = log_probability_NV.shape[1]
        after_BKV = total_BK[:, :, None] + log_probability_NV.view(batch, width, n_entries)
        total_BK, place_BK = _largest(after_BKV.flatten(1), width)
        parent_BK, token_BK = place_BK // n_entries, place_BK % n_entries
        row_N = (first_B1 + parent_BK).flatten()
        weight_BKL = None if weight_NL is None else weight_NL.index_select(0, row_N).view(batch, width, -1)
        trace.append(_Step(parent_BK.tolist(), token_BK.tolist(), weight_BKL))
        has_ended_BK = token_BK == end_id
        is_over_BK = (has_ended_BK | (length == max_length)) & (total_BK > -torch.inf)
        for b, k in is_over_BK.nonzero().tolist():
            found[b].append(_Ended(total_BK[b, k].item(), length, k, bool(has_ended_BK[b, k])))
        total_BK = total_BK.masked_fill(is_over_BK, -torch.inf)
        best_B = total_BK.amax(dim=1).tolist()
        is_done = [best == -math.inf or best < _nth(ended, n_best) for best, ended in zip(best_B, found, strict=True)]
        if all(is_done):
            break
        total_BK = total_BK.masked_fill(torch.tensor(is_done, device=device)[:, None], -torch.inf)
        state = model.select(state, row_N)
    return [_best(b, ended, trace, n_best) for b, ended in enumerate(found)]


class _Ended(NamedTuple):
    """A finished hypothesis: the place of its last token in the beam after `length` steps."""

    log_probability: float
    length: int
    place: int
    has_ended: bool


class _Step(NamedTuple):
    """The beams after a step: parent, token and attention of each place."""

    parent_BK: list[list[int]]
    token_BK: list[list[int]]
    weight_BKL: Tensor | None


def _largest(score_BN: Tensor, n: int) -> tuple[Tensor, Tensor]:
    """Return the n largest of each row and their places, in order; of equals those that come first, unlike topk."""
    least_B1 = score_BN.topk(n, dim=1).values[:, -1:]
    is_more_BN, is_least_BN = score_BN > least_B1, score_BN == least_B1
    room_B1 = n - is_more_BN.sum(dim=1, keepdim=True)
    is_kept_BN = is_more_BN | (is_least_BN & (is_least_BN.cumsum(dim=1) <= room_B1))
    place_BK = is_kept_BN.nonzero()[:, 1].view(-1, n)
    largest_BK, order_BK = score_BN.gather(1, place_BK).sort(dim=1, descending=True, stable=True)
    return largest_BK, place_BK.gather(1, order_BK)


def _nth(ended: list[_Ended], n: int) -> float:
    """Return the log probability that a hypothesis must have to be among the n best."""
    return sorted((one.log_probability for one in ended), reverse=True)[n - 1] if len(ended) >= n else -math.inf


def _best(b: int, ended: list[_Ended], trace: list[_Step], n_best: int) -> list[Hypothesis]:
    """Return the n best hypotheses of an input."""
    least = _nth(ended, n_best)
    found = [_follow(b, one, trace) for one in ended if one.log_probability >= least]
    return sorted(found, key=lambda one: (-one.log_probability, one.tokens))[:n_best]


def _follow(b: int, ended: _Ended, trace: list[_Step]) -> Hypothesis:
    """Follow a hypothesis back to its first token."""
    place, tokens, weights = ended.place, [], []
    for step in reversed(trace[: ended.length]):
        tokens.append(step.token_BK[b][place])
        if step.weight_BKL is not None:
            weights.append(step.weight_BKL[b, place])
        place = step.parent_BK[b][place]
    skipped = int(ended.has_ended)
    weight_ML = torch.stack(weights[::-1])[: len(tokens) - skipped] if weights else None
    return Hypothesis(tuple(tokens[skipped:][::-1]), ended.log_probability, ended.has_ended, weight_ML)
