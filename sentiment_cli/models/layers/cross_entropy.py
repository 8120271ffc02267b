"""Cross-entropy over a large vocabulary, with its gradient computed in the same pass over the tokens.

Only the logits of some tokens are in memory at a time, and none are kept for the backward pass. Matrix products run in
autocast's precision; logits, softmax and sums in float32 at least.
"""

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


def full_cross_entropy(hidden_TD: Tensor, weight_CD: Tensor, bias_C: Tensor, target_T: Tensor) -> Tensor:
    """Return the sum over tokens of -log softmax(W h + b) at the target."""
    total: Tensor = _FullCrossEntropy.apply(hidden_TD, weight_CD, bias_C, target_T, torch.is_grad_enabled())  # type: ignore[no-untyped-call]
    return total


def sampled_cross_entropy(
    hidden_TD: Tensor, rows_XD: Tensor, bias_X: Tensor, place_T: Tensor, is_left_out_T: Tensor
) -> Tensor:
    """Return the sum over tokens of -log softmax(W h + b) at the true word, over candidates that all tokens share.

    The rows and biases of the true words follow those of the candidates. Where `is_left_out_T` is true, the candidate
    at the token's index is excluded from its softmax.
    """
    total: Tensor = _SampledCrossEntropy.apply(  # type: ignore[no-untyped-call]
        hidden_TD, rows_XD, bias_X, place_T, is_left_out_T, torch.is_grad_enabled()
    )
    return total


class _FullCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, hidden_TD: Tensor, weight_CD: Tensor, bias_C: Tensor, target_T: Tensor, has_grad: bool
    ) -> Tensor:
        low, losses = _product_dtype(hidden_TD), [bias_C.new_zeros(())]
        lower_CD = weight_CD.to(low)
        if has_grad:
            by_hidden_TD, by_weight_CD = torch.empty_like(hidden_TD), torch.zeros_like(weight_CD)
            by_bias_C = torch.zeros_like(bias_C)
        with torch.autocast(hidden_TD.device.type, enabled=False):
            for part in _parts(hidden_TD):
                hidden_ND, target_N1 = hidden_TD[part].to(low), target_T[part, None]
                logit_NC = torch.mm(hidden_ND, lower_CD.t()) + bias_C
                truth_N = logit_NC.gather(1, target_N1).squeeze(1)
                share_NC, log_sum_N = _softmax(logit_NC)
                losses.append((log_sum_N - truth_N).sum())
                if has_grad:
                    share_NC.scatter_(1, target_N1, share_NC.gather(1, target_N1) - 1)
                    lower_NC = share_NC.to(low)
                    by_hidden_TD[part] = torch.mm(lower_NC, lower_CD)
                    by_weight_CD += torch.mm(lower_NC.t(), hidden_ND)
                    by_bias_C += share_NC.sum(dim=0)
        if has_grad:
            ctx.save_for_backward(by_hidden_TD, by_weight_CD, by_bias_C)
        return torch.stack(losses).sum()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        return (*(saved * grads[0] for saved in ctx.saved_tensors), None, None)


class _SampledCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden_TD: Tensor,
        rows_XD: Tensor,
        bias_X: Tensor,
        place_T: Tensor,
        is_left_out_T: Tensor,
        has_grad: bool,
    ) -> Tensor:
        low, losses, n = _product_dtype(hidden_TD), [bias_X.new_zeros(())], len(rows_XD) - len(hidden_TD)
        lower_SD, truth_TD, bias_S, bias_T = rows_XD[:n].to(low), rows_XD[n:], bias_X[:n], bias_X[n:]
        if has_grad:
            by_hidden_TD, by_rows_XD, by_bias_X = (torch.empty_like(x) for x in (hidden_TD, rows_XD, bias_X))
            by_candidate_SD, by_bias_S = by_rows_XD[:n].zero_(), by_bias_X[:n].zero_()
            by_truth_TD, by_bias_T = by_rows_XD[n:], by_bias_X[n:]
        with torch.autocast(hidden_TD.device.type, enabled=False):
            for part in _parts(hidden_TD):
                hidden_ND, truth_ND, place_N1 = hidden_TD[part], truth_TD[part], place_T[part, None]
                logit_NS = torch.mm(hidden_ND.to(low), lower_SD.t()) + bias_S
                kept_N1 = logit_NS.gather(1, place_N1).masked_fill(is_left_out_T[part, None], -torch.inf)
                share_NS, log_sum_N = _softmax(logit_NS.scatter_(1, place_N1, kept_N1))
                lead_N = log_sum_N - torch.linalg.vecdot(hidden_ND.to(truth_ND.dtype), truth_ND) - bias_T[part]
                losses.append(-F.logsigmoid(-lead_N).sum())
                if has_grad:
                    missing_N1 = lead_N.sigmoid()[:, None]  # 1 minus the probability of the true word
                    lower_NS = share_NS.mul_(missing_N1).to(low)
                    by_hidden_TD[part] = torch.mm(lower_NS, lower_SD) - truth_ND * missing_N1
                    by_truth_TD[part] = hidden_ND * -missing_N1
                    by_candidate_SD += torch.mm(lower_NS.t(), hidden_ND.to(low))
                    by_bias_T[part] = -missing_N1.squeeze(1)
                    by_bias_S += share_NS.sum(dim=0)
        if has_grad:
            ctx.save_for_backward(by_hidden_TD, by_rows_XD, by_bias_X)
        return torch.stack(losses).sum()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        return (*(saved * grads[0] for saved in ctx.saved_tensors), None, None, None)


def _product_dtype(values: Tensor) -> torch.dtype:
    kind = values.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else values.dtype


def _parts(hidden_TD: Tensor) -> Iterator[slice]:
    """Split the tokens so that their logits over 1,024 candidates fit in the cache of a CPU."""
    size = 1024 if hidden_TD.device.type == "cpu" else 4096
    return (slice(start, start + size) for start in range(0, len(hidden_TD), size))


def _softmax(logit_NC: Tensor) -> tuple[Tensor, Tensor]:
    """Return softmax and logsumexp; torch.logsumexp alone takes five times as long as softmax."""
    share_NC = logit_NC.softmax(dim=1)
    return share_NC, logit_NC.amax(dim=1) - share_NC.amax(dim=1).log()
