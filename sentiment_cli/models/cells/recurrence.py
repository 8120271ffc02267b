"""Helpers shared by the recurrent cells: parameters, dropout masks, blocks of steps, and gradients through time."""

import math
from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sentiment_cli.models.device import cudnn_version

# Numbers of one tensor, of the ten or so that a block of steps works on. Between 2^14 and 2^24 the gradient of SRU and
# of QRNN was fastest with this many, that of others nearly: SRU 3.1 µs a token, 3.4 with half (2 cores of an EPYC).
_IN_CACHE = 131_072
State = tuple[Tensor, ...]  # each _BD; the first is the hidden state that the next layer reads


def uniform_parameter(width: int, *shape: int) -> nn.Parameter:
    """Draw a parameter uniformly within 1 / sqrt(width), as torch's own layers do."""
    bound = 1 / math.sqrt(width)
    return nn.Parameter(torch.empty(shape).uniform_(-bound, bound))


def zero_state(weight_GD: Tensor, n_rows: int, n: int) -> State:
    """Return the n zero tensors of the initial state of a layer with these recurrent weights."""
    return (weight_GD.new_zeros(n_rows, weight_GD.shape[1]),) * n


def project(input_BLD: Tensor, weight_GD: Tensor, bias_G: Tensor | None) -> Tensor:
    """Return the projected input of every step, from_input_LBG, in the dtype of the weights.

    The product itself runs in autocast's precision. The narrower of its two sides is transposed to time-major order.
    """
    if len(weight_GD) < weight_GD.shape[1]:
        return F.linear(input_BLD, weight_GD, bias_G).transpose(0, 1).contiguous().to(weight_GD.dtype)
    return F.linear(input_BLD.transpose(0, 1).contiguous(), weight_GD, bias_G).to(weight_GD.dtype)


def state_mask(state_BD: Tensor, share: float, training: bool) -> Tensor | None:
    """Draw the mask of state dropout; None without dropout."""
    return F.dropout(torch.ones_like(state_BD), share) if training and share else None


def read_fused(
    kernel: Callable[..., tuple[Tensor, ...]], layer: nn.RNNBase, input_BLD: Tensor, start: State, state_weight: Tensor
) -> tuple[Tensor, State]:
    """Read one direction with torch's own kernel, with `state_weight` instead of the layer's own."""
    parameters = (layer.weight_ih_l0, layer.bias_ih_l0, layer.bias_hh_l0)
    input_weight, *biases = (tensor for tensor in parameters if isinstance(tensor, Tensor))
    weights, is_own = [input_weight, state_weight, *biases], state_weight is layer.weight_hh_l0
    return read_with(kernel, weights, input_BLD, start, training=layer.training, is_one_piece=is_own)


def read_with(
    kernel: Callable[..., tuple[Tensor, ...]],
    weights: list[Tensor],
    input_BLD: Tensor,
    start: State,
    *,
    training: bool,
    is_one_piece: bool = False,
) -> tuple[Tensor, State]:
    """Read one direction with torch's own kernel, with the weights of the input and the state and their two biases.

    Under autocast on CUDA, torch would call cuDNN in float16 even where autocast's dtype is bfloat16 and no loss
    scaling protects small gradients (aten/src/ATen/cudnn/AutocastRNN.cpp). So the kernel is called outside autocast.
    """
    low = input_BLD.dtype
    if input_BLD.is_cuda and torch.is_autocast_enabled("cuda"):
        low = torch.get_autocast_dtype("cuda")
        dtype = torch.float32 if low == torch.bfloat16 and not _cudnn_has_bf16() else low
        input_BLD, weights = input_BLD.to(dtype), _in_one_piece(weights, dtype)
    elif input_BLD.is_cuda and not is_one_piece:
        weights = _in_one_piece(weights, input_BLD.dtype)
    start_1BD = [tensor_BD[None].to(input_BLD.dtype) for tensor_BD in start]
    one_or_all = start_1BD[0] if len(start) == 1 else start_1BD
    with torch.autocast("cuda", enabled=False):
        states_BLD, *last = kernel(input_BLD, one_or_all, weights, True, 1, 0.0, training, False, True)
    return states_BLD.to(low), tuple(tensor_1BD[0].to(low) for tensor_1BD in last)


def _cudnn_has_bf16() -> bool:
    """Return whether torch calls cuDNN for bfloat16: from 9.13 on. Otherwise it would take three kernels a step."""
    return cudnn_version() >= 91300


def _in_one_piece(weights: list[Tensor], dtype: torch.dtype) -> list[Tensor]:
    """Return the weights one after the other in memory, as cuDNN wants them; others it copies at each call, warning."""
    flat = torch.cat([weight.flatten() for weight in weights]).to(dtype)
    parts = torch.split(flat, [weight.numel() for weight in weights])
    return [part.view_as(weight) for part, weight in zip(parts, weights, strict=True)]


def tanh(values: Tensor, out: Tensor) -> Tensor:
    """Write tanh x = 2 sigmoid(2 x) - 1, good to one unit in the last place of 1.

    torch.tanh distributes even 32 x 128 values over all threads, which costs 18 us of each, and more beside other jobs;
    this takes 11 us on a CPU. On a GPU it would be four kernels instead of one.
    """
    if values.is_cuda:
        return torch.tanh(values, out=out)
    return torch.mul(values, 2, out=out).sigmoid_().mul_(2).sub_(1)


def grad_through_state(grad_BD: Tensor, inner_BG: Tensor, weight_GD: Tensor, mask_BD: Tensor | None) -> Tensor:
    """Add the gradient from the next step's product, inner_BG, to the gradient of a state."""
    if mask_BD is None:
        return torch.addmm(grad_BD, inner_BG, weight_GD)
    return torch.addcmul(grad_BD, torch.mm(inner_BG, weight_GD), mask_BD)


def with_initial(grad_LBD: Tensor, state_BD: Tensor, length: int) -> tuple[Tensor, ...]:
    """Return one gradient for each of `length` steps; that of the initial state is zero."""
    return (*(torch.zeros_like(state_BD),) * (length - len(grad_LBD)), *grad_LBD.unbind())


def own_copy(grad_BD: Tensor) -> Tensor:
    """Return the gradient of a last state in memory of its own, which the steps before it overwrite."""
    return grad_BD.clone(memory_format=torch.contiguous_format)


def weight_gradient(inner_LBG: Tensor, before_LBD: Tensor, mask_BD: Tensor | None) -> Tensor:
    """Return the gradient of weight_GD, from the gradients of each step's product with the previous state."""
    read_LBD = before_LBD if mask_BD is None else before_LBD * mask_BD
    return inner_LBG.flatten(0, 1).t() @ read_LBD.flatten(0, 1)


def alloc_states(start_BD: Tensor, length: int) -> Tensor:
    """Allocate the states of `length` steps, with the initial state first."""
    states_LBD = start_BD.new_empty(length + 1, *start_BD.shape)
    states_LBD[0] = start_BD
    return states_LBD


def steps(*values_LBD: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """Yield the views of each step, made all at once: one by one they would take as long as the operations on them."""
    return zip(*(tensor_LBD.unbind() for tensor_LBD in values_LBD), strict=True)


def blocks_from_end(values_LBD: Tensor) -> Iterator[slice]:
    """Yield the steps in blocks whose tensors stay in the CPU cache between operations; on a GPU, all steps at once.

    Tensors of a block have no shape letters.
    """
    length = len(values_LBD)
    size = max(1, _IN_CACHE // values_LBD[0].numel()) if values_LBD.device.type == "cpu" else length
    for end in range(length, 0, -size):
        yield slice(max(0, end - size), end)
