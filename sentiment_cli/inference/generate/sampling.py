"""Choosing the next word by its log probability, and words one after the other."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from sentiment_cli.models.language_model import LanguageModel

_LIKELY = 1024
_COLDEST = 1e-3  # at which a word e^0.1 times less likely is left no chance; smaller divisors can round to 0


def forbid(log_probability_BV: Tensor, ids: Sequence[int]) -> Tensor:
    """Exclude some words. The remaining probabilities need not sum to 1, here and below."""
    ids_K = torch.tensor(ids, dtype=torch.long, device=log_probability_BV.device)
    return log_probability_BV.index_fill(1, ids_K, -torch.inf)


def keep_top_k(log_probability_BV: Tensor, k: int) -> Tensor:
    """Leave the k most probable words (Fan, Lewis & Dauphin 2018)."""
    kept = log_probability_BV.topk(min(k, log_probability_BV.shape[1]), dim=1)
    return torch.full_like(log_probability_BV, -torch.inf).scatter(1, kept.indices, kept.values)


def keep_top_p(log_probability_BV: Tensor, p: float) -> Tensor:
    """Leave the fewest words that have the share p of the probability, one at least (Holtzman et al. 2020)."""
    log_share_BV = log_probability_BV.log_softmax(dim=1)
    # The share p is mostly among a few words, which are found in a fifth of the time that it takes to sort 30,000.
    sorted_BK, order_BK = log_share_BV.topk(min(_LIKELY, log_share_BV.shape[1]), dim=1)
    if bool((sorted_BK.exp().sum(dim=1) < p).any()):
        sorted_BK, order_BK = log_share_BV.sort(dim=1, descending=True)
    share_BK = sorted_BK.exp()
    is_left_out_BK = share_BK.cumsum(dim=1) - share_BK >= p  # by the more probable words alone
    is_left_out_BK[:, 0] = False
    is_left_out_BV = torch.ones_like(log_probability_BV, dtype=torch.bool).scatter(1, order_BK, is_left_out_BK)
    return log_probability_BV.masked_fill(is_left_out_BV, -torch.inf)


def choose(
    log_probability_BV: Tensor,
    *,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Choose one word per row, ids_B: at temperature 0 the most probable, else at random.

    Log probabilities are divided by the temperature first, then the top k are kept, and of these the top p.
    """
    if temperature == 0:
        return log_probability_BV.argmax(dim=1)
    # The likeliest word stays at 0, where all others may fall to -inf.
    log_probability_BV = (log_probability_BV - log_probability_BV.amax(dim=1, keepdim=True)) / max(
        temperature, _COLDEST
    )
    if top_k is not None:
        log_probability_BV = keep_top_k(log_probability_BV, top_k)
    if top_p is not None:
        log_probability_BV = keep_top_p(log_probability_BV, top_p)
    return log_probability_BV.softmax(dim=1).multinomial(1, generator=generator).squeeze(1)


def generate_tokens(
    model: LanguageModel,
    prompt_ids: Sequence[int],
    *,
    n_tokens: int,
    n_rows: int = 1,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    forbidden: Sequence[int] = (),
    end_id: int | None = None,
    label: int = 0,
    generator: torch.Generator | None = None,
) -> Iterator[Tensor]:
    """Yield ids_B, the next word of each of B texts that begin with the prompt.

    A text that has reached `end_id` repeats it; the iterator ends when all texts have. The prompt holds
    one token at least; the model is in the mode of evaluation, and the generator, if any, on its device.
    """
    assert not model.training
    device = model.embedding.weight.device
    ids_BL = torch.tensor(prompt_ids, device=device).expand(n_rows, -1)
    state, is_ended_B = None, torch.zeros(n_rows, dtype=torch.bool, device=device)
    label_B = torch.full((n_rows,), label, device=device)
    for _ in range(n_tokens):
        with torch.inference_mode():
            hidden_BLD, state = model(ids_BL, state, label_B)
            log_probability_BV = forbid(model.log_probabilities(hidden_BLD[:, -1]), forbidden)
            ids_B = choose(log_probability_BV, temperature=temperature, top_k=top_k, top_p=top_p, generator=generator)
            if end_id is not None:
                ids_B = ids_B.masked_fill(is_ended_B, end_id)
                is_ended_B = is_ended_B | (ids_B == end_id)
        yield ids_B
        if end_id is not None and bool(is_ended_B.all()):
            return
        ids_BL = ids_B[:, None]
