"""Layers whose recurrent matrix stays orthogonal, so that no gradient grows or fades in it."""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sentiment_cli.models.cells import State


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
        from_input_LBD = _project(input_BLD, self.input_weight, None)
        (start_BD,) = start or (from_input_LBD.new_zeros(len(input_BLD), self.width),)
        kept_BD = _draw_kept(start_BD, self.state_dropout if self.training else 0.0)
        with torch.autocast(input_BLD.device.type, enabled=False):
            matrix_DD = orthogonal_matrix(self.skew, self.width)
            states_LBD: Tensor = _OrthogonalScan.apply(from_input_LBD, matrix_DD, self.bias, start_BD, kept_BD)  # type: ignore[no-untyped-call]
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
        gates = [nn.init.xavier_uniform_(torch.empty(width, input_width)) for _ in range(3)]
        self.input_weight = nn.Parameter(torch.cat(gates))
        self.state_weight = nn.Parameter(
            torch.cat([nn.init.xavier_uniform_(torch.empty(width, width)) for _ in range(2)])
        )
        self.bias = nn.Parameter(torch.cat([torch.full((width,), 2.0), torch.zeros(2 * width)]))
        self.skew = nn.Parameter(fresh_skew(width))

    def forward(self, input_BLD: Tensor, start: State | None = None) -> tuple[Tensor, State]:
        """Return states_BLD and the last of them."""
        gate_bias_G, bias_D = self.bias[: 2 * self.width], self.bias[2 * self.width :]
        from_input_LBG = _project(input_BLD, self.input_weight, F.pad(gate_bias_G, (0, self.width)))
        (start_BD,) = start or (from_input_LBG.new_zeros(len(input_BLD), self.width),)
        kept_BD = _draw_kept(start_BD, self.state_dropout if self.training else 0.0)
        with torch.autocast(input_BLD.device.type, enabled=False):
            weight_GD = torch.cat([self.state_weight, orthogonal_matrix(self.skew, self.width)])
            states_LBD: Tensor = _GORUScan.apply(from_input_LBG, weight_GD, bias_D, start_BD, kept_BD)  # type: ignore[no-untyped-call]
        return states_LBD.transpose(0, 1), (states_LBD[-1],)


def fresh_skew(width: int) -> Tensor:
    """Draw the numbers above the diagonal of a skew-symmetric matrix whose exponential turns pairs of numbers.

    The angles are uniform in (-pi, pi), as Henaff et al. 2016 have them. All other numbers are 0.
    """
    upper_DD = torch.zeros(width, width)
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
    matrix_DD = torch.matrix_exp(upper_DD - upper_DD.t())
    return 1.5 * matrix_DD - 0.5 * matrix_DD @ (matrix_DD.t() @ matrix_DD)


def _project(input_BLD: Tensor, weight_GD: Tensor, bias_G: Tensor | None) -> Tensor:
    """Return from_input_LBG in float32 at least: autocast may lower the product alone."""
    from_input_BLG = F.linear(input_BLD, weight_GD, bias_G)
    dtype = torch.promote_types(from_input_BLG.dtype, torch.float32)
    return from_input_BLG.transpose(0, 1).to(dtype).contiguous()


def _draw_kept(start_BD: Tensor, share: float) -> Tensor | None:
    """Return what multiplies each state before the matrices read it, or None where nothing is dropped."""
    return F.dropout(torch.ones_like(start_BD), share) if share else None


def _apply_modrelu(values_BD: Tensor, bias_D: Tensor, sign_BD: Tensor) -> None:
    """Apply modReLU in place; `sign_BD` is room for the signs."""
    torch.sign(values_BD, out=sign_BD)
    values_BD.abs_().add_(bias_D).relu_().mul_(sign_BD)


def _before(states_LBD: Tensor, start_BD: Tensor, kept_BD: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return for each step the state before it, and what the matrices read of it."""
    before_LBD = torch.cat([start_BD[None], states_LBD[:-1]])
    return before_LBD, before_LBD if kept_BD is None else before_LBD * kept_BD


class _OrthogonalScan(torch.autograd.Function):
    """h_t = modReLU(x_t + U h_t-1), and its gradient through time."""

    @staticmethod
    def forward(
        ctx: Any, input_LBD: Tensor, matrix_DD: Tensor, bias_D: Tensor, start_BD: Tensor, kept_BD: Tensor | None
    ) -> Tensor:
        states_LBD, sign_BD, turned_DD = torch.empty_like(input_LBD), torch.empty_like(start_BD), matrix_DD.t()
        before_BD = start_BD
        for input_BD, state_BD in zip(input_LBD.unbind(), states_LBD.unbind(), strict=True):
            read_BD = before_BD if kept_BD is None else before_BD * kept_BD
            torch.addmm(input_BD, read_BD, turned_DD, out=state_BD)
            _apply_modrelu(state_BD, bias_D, sign_BD)
            before_BD = state_BD
        ctx.save_for_backward(states_LBD, matrix_DD, start_BD, kept_BD)
        return states_LBD

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, None]:
        states_LBD, matrix_DD, start_BD, kept_BD = ctx.saved_tensors
        sign_LBD = states_LBD.sign()
        inner_LBD = sign_LBD.abs()  # the slope of modReLU, turned into the gradient before it, step by step
        after_BD = torch.zeros_like(start_BD)
        for grad_BD, inner_BD in zip(grads[0].unbind()[::-1], inner_LBD.unbind()[::-1], strict=True):
            inner_BD.mul_(grad_BD + after_BD)
            after_BD = inner_BD @ matrix_DD
            if kept_BD is not None:
                after_BD.mul_(kept_BD)
        _, read_LBD = _before(states_LBD, start_BD, kept_BD)
        matrix_grad_DD = inner_LBD.flatten(0, 1).t() @ read_LBD.flatten(0, 1)
        return inner_LBD, matrix_grad_DD, (inner_LBD * sign_LBD).sum((0, 1)), after_BD, None


class _GORUScan(torch.autograd.Function):
    """The recurrence of GORU, weight_GD being that of r, that of z and U, and its gradient through time."""

    @staticmethod
    def forward(
        ctx: Any, input_LBG: Tensor, weight_GD: Tensor, bias_D: Tensor, start_BD: Tensor, kept_BD: Tensor | None
    ) -> Tensor:
        width, turned_DG, sign_BD = start_BD.shape[1], weight_GD.t(), torch.empty_like(start_BD)
        gates_LBG = torch.empty_like(input_LBG)  # r, z and U h
        states_LBD = input_LBG.new_empty(*input_LBG.shape[:2], width)
        candidate_LBD = torch.empty_like(states_LBD)
        before_BD = start_BD
        steps = zip(input_LBG.unbind(), gates_LBG.unbind(), candidate_LBD.unbind(), states_LBD.unbind(), strict=True)
        for input_BG, gates_BG, candidate_BD, state_BD in steps:
            read_BD = before_BD if kept_BD is None else before_BD * kept_BD
            torch.mm(read_BD, turned_DG, out=gates_BG)
            gates_BG[:, : 2 * width].add_(input_BG[:, : 2 * width]).sigmoid_()
            reset_BD, update_BD, rotated_BD = gates_BG.chunk(3, dim=1)
            torch.addcmul(input_BG[:, 2 * width :], reset_BD, rotated_BD, out=candidate_BD)
            _apply_modrelu(candidate_BD, bias_D, sign_BD)
            before_BD = torch.lerp(candidate_BD, before_BD, update_BD, out=state_BD)
        ctx.save_for_backward(gates_LBG, candidate_LBD, states_LBD, weight_GD, start_BD, kept_BD)
        return states_LBD

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, None]:
        gates_LBG, candidate_LBD, states_LBD, weight_GD, start_BD, kept_BD = ctx.saved_tensors
        reset_LBD, update_LBD, rotated_LBD = gates_LBG.chunk(3, dim=2)
        before_LBD, read_LBD = _before(states_LBD, start_BD, kept_BD)
        sign_LBD = candidate_LBD.sign()
        slope_LBD = (1 - update_LBD) * sign_LBD.abs()  # of h_t by what modReLU takes
        # The slopes of h_t by what the three matrices give, turned into the gradients there, step by step.
        inner_LB3D = torch.stack(
            [
                slope_LBD * rotated_LBD * reset_LBD * (1 - reset_LBD),
                (before_LBD - candidate_LBD) * update_LBD * (1 - update_LBD),
                slope_LBD * reset_LBD,
            ],
            dim=2,
        )
        grad_LBD = torch.empty_like(states_LBD)
        after_BD = torch.zeros_like(start_BD)
        for t in range(len(grad_LBD) - 1, -1, -1):
            grad_BD, inner_B3D = torch.add(grads[0][t], after_BD, out=grad_LBD[t]), inner_LB3D[t]
            inner_B3D.mul_(grad_BD[:, None])
            after_BD = inner_B3D.flatten(1) @ weight_GD
            if kept_BD is not None:
                after_BD.mul_(kept_BD)
            after_BD.addcmul_(grad_BD, update_LBD[t])
        weight_grad_GD = inner_LB3D.flatten(2).flatten(0, 1).t() @ read_LBD.flatten(0, 1)
        slope_LBD.mul_(grad_LBD)
        inner_LB3D[:, :, 2] = slope_LBD
        return inner_LB3D.flatten(2), weight_grad_GD, (slope_LBD * sign_LBD).sum((0, 1)), after_BD, None
