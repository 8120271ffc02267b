"""Layers whose recurrent matrix stays orthogonal, so that no gradient grows or fades in it."""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sentiment_cli.models.cells.elman import elman_grad_steps
from sentiment_cli.models.cells.fused import in_one_kernel
from sentiment_cli.models.cells.recurrence import (
    State,
    alloc_states,
    blocks_from_end,
    grad_through_state,
    own_copy,
    project,
    state_mask,
    steps,
    weight_gradient,
    with_initial,
    zero_state,
)

_aten = torch.ops.aten
_SQUARINGS = 8


class Orthogonal(nn.Module):
    """h_t = modReLU(W x_t + U h_t-1) with U orthogonal, modReLU(z) = sign(z) relu(|z| + b).

    The unitary network of Arjovsky et al. 2016 in real numbers, and its first W and b; U as Lezcano-Casado &
    Martinez-Rubio 2019 have it, from `skew`, the numbers above the diagonal of a skew-symmetric matrix.
    """

    def __init__(
        self, input_width: int, width: int, *, weight_dropout: float = 0.0, state_dropout: float = 0.0
    ) -> None:
        super().__init__()
        assert not weight_dropout, "a matrix with zeroed numbers is not orthogonal"
        self.width, self.n_gates, self.state_dropout = width, 1, state_dropout
        self.input_weight = nn.Parameter(nn.init.xavier_uniform_(torch.empty(width, input_width)))
        self.bias = nn.Parameter(torch.zeros(width))  # modReLU's: a fresh layer is linear
        self.skew = nn.Parameter(fresh_skew(width))

    def forward(self, input_BLD: Tensor, start: State | None = None) -> tuple[Tensor, State]:
        """Return states_BLD and the last of them."""
        from_input_LBD = project(input_BLD, self.input_weight, None)
        (start_BD,) = start or (from_input_LBD.new_zeros(len(input_BLD), self.width),)
        mask_BD = state_mask(start_BD, self.state_dropout, self.training)
        with torch.autocast(input_BLD.device.type, enabled=False):
            matrix_DD = orthogonal_matrix(self.skew, self.width)
            states_LBD: Tensor = _OrthogonalScan.apply(from_input_LBD, matrix_DD, self.bias, start_BD, mask_BD)  # type: ignore[no-untyped-call]
        return states_LBD.transpose(0, 1), (states_LBD[-1],)


class GORU(nn.Module):
    """Gated orthogonal recurrent unit (Jing et al. 2017): a GRU around an orthogonal matrix U and modReLU.

    r_t, z_t = sigmoid(W x_t + V h_t-1 + b), h_t = z_t h_t-1 + (1 - z_t) modReLU(W_h x_t + r_t (U h_t-1)).

    `bias` is that of r, z and modReLU; r's begins with 2, as in the authors' code. State dropout acts on what the
    matrices read, not on what z carries over.
    """

    def __init__(
        self, input_width: int, width: int, *, weight_dropout: float = 0.0, state_dropout: float = 0.0
    ) -> None:
        super().__init__()
        assert not weight_dropout, "a matrix with zeroed numbers is not orthogonal"
        self.width, self.n_gates, self.state_dropout = width, 3, state_dropout
        self.input_weight = nn.Parameter(torch.empty(3 * width, input_width))
        self.state_weight = nn.Parameter(torch.empty(2 * width, width))
        self.bias = nn.Parameter(torch.zeros(3 * width))
        with torch.no_grad():
            for gate in (*self.input_weight.chunk(3), *self.state_weight.chunk(2)):
                nn.init.xavier_uniform_(gate)
            self.bias[:width].fill_(2.0)
        self.skew = nn.Parameter(fresh_skew(width))

    def forward(self, input_BLD: Tensor, start: State | None = None) -> tuple[Tensor, State]:
        """Return states_BLD and the last of them."""
        gate_bias_G, bias_D = self.bias[: 2 * self.width], self.bias[2 * self.width :]
        from_input_LBG = project(input_BLD, self.input_weight, F.pad(gate_bias_G, (0, self.width)))
        (start_BD,) = start or zero_state(self.state_weight, len(input_BLD), 1)
        mask_BD = state_mask(start_BD, self.state_dropout, self.training)
        with torch.autocast(input_BLD.device.type, enabled=False):
            weight_GD = torch.cat([self.state_weight, orthogonal_matrix(self.skew, self.width)])
            states_LBD: Tensor = _GORUScan.apply(from_input_LBG, weight_GD, bias_D, start_BD, mask_BD)  # type: ignore[no-untyped-call]
        return states_LBD.transpose(0, 1), (states_LBD[-1],)


def fresh_skew(width: int) -> Tensor:
    """Draw the numbers above the diagonal of a skew-symmetric matrix whose exponential turns pairs of numbers.

    The angles are uniform in (-pi, pi), as Henaff et al. 2016 have them. All other numbers are 0.
    """
    upper_DD = torch.zeros(width, width)
    if upper_DD.is_meta:  # where the indices below would import sympy: 1 s of CPU for nothing
        return torch.empty(width * (width - 1) // 2)
    pairs = torch.arange(0, width - 1, 2)
    upper_DD[pairs, pairs + 1] = torch.empty(len(pairs)).uniform_(-math.pi, math.pi)
    row_N, column_N = torch.triu_indices(width, width, 1)
    return upper_DD[row_N, column_N]


def orthogonal_matrix(skew_N: Tensor, width: int) -> Tensor:
    """Return the exponential of the skew-symmetric matrix with these numbers above its diagonal, row by row.

    The exponential in float32 is orthogonal to 1e-5 only; one step of Newton's method for the nearest orthogonal
    matrix makes it 1e-6, in half the time that float64 takes.
    """
    row_N, column_N = torch.triu_indices(width, width, 1, device=skew_N.device)
    upper_DD = skew_N.new_zeros(width, width).index_put((row_N, column_N), skew_N)
    skew_DD = upper_DD - upper_DD.t()
    matrix_DD = exp_by_squaring(skew_DD) if skew_DD.is_cuda else torch.matrix_exp(skew_DD)
    return 1.5 * matrix_DD - 0.5 * matrix_DD @ (matrix_DD.t() @ matrix_DD)


def exp_by_squaring(matrix_DD: Tensor) -> Tensor:
    """Return the exponential of a matrix: the Taylor polynomial of degree 8 of its 256th part, squared eight times.

    torch.matrix_exp chooses both numbers by the norm, for which the host waits for a GPU, forward and backward. These
    are exact to float32 up to a norm of 256; the angles of a fresh matrix are below 3.2.
    """
    part_DD = matrix_DD / 2**_SQUARINGS
    power_DD = part_DD @ part_DD
    fourth_DD = power_DD @ power_DD
    one_DD = torch.eye(len(matrix_DD), dtype=matrix_DD.dtype, device=matrix_DD.device)
    # Paterson & Stockmeyer 1973: with the square and its square, four products give degree 8.
    low_DD = part_DD + power_DD / 2 + power_DD @ part_DD / 6
    high_DD = one_DD / 24 + part_DD / 120 + power_DD / 720 + power_DD @ part_DD / 5040 + fourth_DD / 40320
    less_one_DD = low_DD + fourth_DD @ high_DD  # beside 1, small numbers would lose their digits
    for _ in range(_SQUARINGS):
        less_one_DD = torch.addmm(2 * less_one_DD, less_one_DD, less_one_DD)
    result_DD: Tensor = one_DD + less_one_DD
    return result_DD


def _apply_modrelu(values_BD: Tensor, bias_D: Tensor, sign_BD: Tensor) -> None:
    """Apply modReLU in place; `sign_BD` is room for the signs."""
    torch.sign(values_BD, out=sign_BD)
    values_BD.abs_().add_(bias_D).relu_().mul_(sign_BD)


class _OrthogonalScan(torch.autograd.Function):
    """h_t = modReLU(x_t + U h_t-1), and its gradient through time."""

    @staticmethod
    def forward(
        ctx: Any, input_LBD: Tensor, matrix_DD: Tensor, bias_D: Tensor, start_BD: Tensor, mask_BD: Tensor | None
    ) -> Tensor:
        all_LBD = alloc_states(start_BD, len(input_LBD))
        orthogonal_steps(input_LBD, matrix_DD, bias_D, mask_BD, all_LBD)
        ctx.save_for_backward(all_LBD, matrix_DD, mask_BD)
        return all_LBD[1:]

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, None]:
        all_LBD, matrix_DD, mask_BD = ctx.saved_tensors
        sign_LBD = all_LBD[1:].sign()
        inner_LBD = sign_LBD.abs()  # the slope of modReLU, turned into the gradient before it, step by step
        by_state_BD = own_copy(grads[0][-1])
        elman_grad_steps(grads[0][:-1], matrix_DD, mask_BD, inner_LBD, by_state_BD)
        matrix_grad_DD = weight_gradient(inner_LBD, all_LBD[:-1], mask_BD)
        return inner_LBD, matrix_grad_DD, sign_LBD.mul_(inner_LBD).sum((0, 1)), by_state_BD, None


@in_one_kernel("all_LBD")
def orthogonal_steps(
    input_LBD: Tensor, matrix_DD: Tensor, bias_D: Tensor, mask_BD: Tensor | None, all_LBD: Tensor
) -> None:
    turned_DD, sign_BD = matrix_DD.t(), torch.empty_like(all_LBD[0])
    for input_BD, before_BD, state_BD in steps(input_LBD, all_LBD[:-1], all_LBD[1:]):
        read_BD = before_BD if mask_BD is None else torch.mul(before_BD, mask_BD)
        torch.addmm(input_BD, read_BD, turned_DD, out=state_BD)
        _apply_modrelu(state_BD, bias_D, sign_BD)


class _GORUScan(torch.autograd.Function):
    """The recurrence of GORU, weight_GD being that of r, that of z and U, and its gradient through time."""

    @staticmethod
    def forward(
        ctx: Any, input_LBG: Tensor, weight_GD: Tensor, bias_D: Tensor, start_BD: Tensor, mask_BD: Tensor | None
    ) -> Tensor:
        all_LBD, products_LBG = alloc_states(start_BD, len(input_LBG)), torch.empty_like(input_LBG)
        candidate_LBD = torch.empty_like(all_LBD[1:])
        goru_steps(input_LBG, weight_GD, bias_D, mask_BD, products_LBG, candidate_LBD, all_LBD)
        ctx.save_for_backward(products_LBG, candidate_LBD, all_LBD, weight_GD, mask_BD)
        return all_LBD[1:]

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, None]:
        products_LBG, candidate_LBD, all_LBD, weight_GD, mask_BD = ctx.saved_tensors
        inner_LB3D = torch.empty_like(products_LBG).view(*candidate_LBD.shape[:2], 3, -1)
        weight_grad_GD, bias_grad_D = torch.zeros_like(weight_GD), weight_GD.new_zeros(weight_GD.shape[1])
        by_state_BD = own_copy(grads[0][-1])
        for block in blocks_from_end(candidate_LBD):
            reset, update, rotated = products_LBG[block].chunk(3, dim=2)
            candidate, old, inner = candidate_LBD[block], all_LBD[:-1][block], inner_LB3D[block]
            sign = candidate.sign()
            # The slopes of h_t, turned into gradients step by step: by what modReLU takes, and by the three products.
            slope = sign.abs()
            slope.addcmul_(slope, update, value=-1)
            _aten.sigmoid_backward(slope * rotated, reset, grad_input=inner[:, :, 0])
            _aten.sigmoid_backward(old - candidate, update, grad_input=inner[:, :, 1])
            torch.mul(slope, reset, out=inner[:, :, 2])
            before = grads[0][max(0, block.start - 1) : block.stop - 1]
            goru_grad_steps(before, weight_GD, mask_BD, update, inner, slope, by_state_BD)
            weight_grad_GD += weight_gradient(inner.flatten(2), old, mask_BD)
            bias_grad_D += sign.mul_(slope).sum((0, 1))
            inner[:, :, 2] = slope  # what modReLU takes is the input's, without r
        return inner_LB3D.flatten(2), weight_grad_GD, bias_grad_D, by_state_BD, None


@in_one_kernel("products_LBG", "candidate_LBD", "all_LBD")
def goru_steps(
    input_LBG: Tensor,
    weight_GD: Tensor,
    bias_D: Tensor,
    mask_BD: Tensor | None,
    products_LBG: Tensor,
    candidate_LBD: Tensor,
    all_LBD: Tensor,
) -> None:
    width, turned_DG, sign_BD = all_LBD.shape[2], weight_GD.t(), torch.empty_like(all_LBD[0])
    gates_LB2, rotated_LBD = products_LBG.tensor_split((2 * width,), dim=2)  # turned into r and z; U h
    per_step = (*input_LBG.tensor_split((2 * width,), dim=2), products_LBG, gates_LB2, *gates_LB2.chunk(2, dim=2))
    per_step += (rotated_LBD, candidate_LBD, all_LBD[:-1], all_LBD[1:])
    for views in steps(*per_step):
        input_B2, input_BD, products_BG, gates_B2, reset_BD, update_BD, rotated_BD, *states = views
        candidate_BD, before_BD, state_BD = states
        read_BD = before_BD if mask_BD is None else torch.mul(before_BD, mask_BD)
        torch.mm(read_BD, turned_DG, out=products_BG)
        gates_B2.add_(input_B2).sigmoid_()
        torch.addcmul(input_BD, reset_BD, rotated_BD, out=candidate_BD)
        _apply_modrelu(candidate_BD, bias_D, sign_BD)
        torch.lerp(candidate_BD, before_BD, update_BD, out=state_BD)


@in_one_kernel("inner_LB3D", "slope_LBD", "by_state_BD")
def goru_grad_steps(
    grad_LBD: Tensor,
    weight_GD: Tensor,
    mask_BD: Tensor | None,
    update_LBD: Tensor,
    inner_LB3D: Tensor,
    slope_LBD: Tensor,
    by_state_BD: Tensor,
) -> None:
    """Turn slopes into gradients, also of the initial state; grad_LBD is that of the states before the steps."""
    state_BD = by_state_BD
    views = zip(with_initial(grad_LBD, state_BD, len(slope_LBD)), steps(inner_LB3D, slope_LBD, update_LBD), strict=True)
    for grad_BD, (inner_B3D, slope_BD, update_BD) in reversed(list(views)):
        inner_B3D.mul_(state_BD[:, None])
        slope_BD.mul_(state_BD)
        state_BD = grad_through_state(grad_BD, inner_B3D.flatten(1), weight_GD, mask_BD).addcmul_(state_BD, update_BD)
    by_state_BD.copy_(state_BD)
