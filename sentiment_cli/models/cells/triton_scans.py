"""Triton kernels of the scans: all steps of a layer, forward or backward, in one launch.

A program takes sixteen rows of the batch through all steps: rows do not depend on each other, so that programs never
wait for each other. The states pass from step to step through global memory, where all threads of a program see them
after a barrier. The recurrent weights are read at each step, from the caches of the GPU: nothing has to fit into the
shared memory. Products are of the weights' dtype, with sums in float32; those of float32 weights are three products of
TF32, which together are as exact. `fused.py` says where the kernels run, and the cells have the same steps in PyTorch.

This module is longer than 300 lines because kernels share functions of their own, and each has its launch here.
R are rows of a program, C columns, K what a product sums over. Pointers have no shape letters.
"""

# mypy: disable-error-code="no-untyped-def, untyped-decorator, no-untyped-call"
from collections.abc import Callable
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

_ROWS, _COLUMNS, _WARPS = 16, 64, 8  # 16 rows are the least that tensor cores take
_kernel = triton.jit(
    do_not_specialize=["length", "n_rows"]
)  # or each of a run's lengths might compile a kernel of its own


@triton.jit
def _tanh(values):
    return 2 * tl.sigmoid(2 * values) - 1


@triton.jit
def _product(
    read, read_stride, mask, weight, depth_stride, column_stride, row_R, column_C, n_rows, n_depth, width,
    DEPTH: tl.constexpr,
):  # fmt: skip
    """Return the product of what a step reads with the columns of a matrix, whose strides say how it lies."""
    total_RC = tl.zeros((row_R.shape[0], column_C.shape[0]), tl.float32)
    for first in range(0, n_depth, DEPTH):
        depth_K = first + tl.arange(0, DEPTH)
        is_read = (row_R[:, None] < n_rows) & (depth_K[None, :] < n_depth)
        read_RK = tl.load(read + row_R[:, None] * read_stride + depth_K[None, :], mask=is_read, other=0.0)
        if mask is not None:
            read_RK *= tl.load(mask + row_R[:, None] * read_stride + depth_K[None, :], mask=is_read, other=0.0)
        places = depth_K[:, None] * depth_stride + column_C[None, :] * column_stride
        is_weight = (depth_K[:, None] < n_depth) & (column_C[None, :] < width)
        weight_KC = tl.load(weight + places, mask=is_weight, other=0.0)
        total_RC = tl.dot(read_RK.to(weight_KC.dtype), weight_KC, total_RC, input_precision="tf32x3")
    return total_RC


@triton.jit
def _from_state(states, mask, weight, gate, row_R, column_C, n_rows, width, DEPTH: tl.constexpr):
    """Return what the gate number `gate` of a step gets from the state before it."""
    return _product(
        states, width, mask, weight + gate * width * width, 1, width, row_R, column_C, n_rows, width, width, DEPTH
    )


@_kernel
def _elman(
    from_input, weight, bias, mask, states, length, n_rows, width,
    SQUASH: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr, DEPTH: tl.constexpr,
):  # fmt: skip
    row_R = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    for _ in range(length):
        for first in range(0, width, COLUMNS):
            column_C = first + tl.arange(0, COLUMNS)
            place = row_R[:, None] * width + column_C[None, :]
            is_here = (row_R[:, None] < n_rows) & (column_C[None, :] < width)
            state_RC = tl.load(from_input + place, mask=is_here, other=0.0)
            state_RC += _from_state(states, mask, weight, 0, row_R, column_C, n_rows, width, DEPTH)
            if SQUASH == "tanh":
                state_RC = _tanh(state_RC)
            elif SQUASH == "relu":
                state_RC = tl.maximum(state_RC, 0.0)
            elif SQUASH == "modrelu":
                state_RC = _modrelu(state_RC, tl.load(bias + column_C, mask=column_C < width, other=0.0))
            tl.store(states + n_rows * width + place, state_RC, mask=is_here)
        from_input += n_rows * width
        states += n_rows * width
        tl.debug_barrier()


@triton.jit
def _modrelu(values_RC, bias_C):
    sign_RC = tl.where(values_RC > 0, 1.0, tl.where(values_RC < 0, -1.0, 0.0))
    return sign_RC * tl.maximum(tl.abs(values_RC) + bias_C[None, :], 0.0)


@_kernel
def _lstm(
    from_input, weight, peephole, mask, gates, new, squashed, memory, states, length, n_rows, width,
    N_GATES: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr, DEPTH: tl.constexpr,
):  # fmt: skip
    """The gates are input, forget if there are four, new, and output."""
    row_R = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    size = n_rows * width
    for _ in range(length):
        for first in range(0, width, COLUMNS):
            column_C = first + tl.arange(0, COLUMNS)
            place = row_R[:, None] * width + column_C[None, :]
            is_here = (row_R[:, None] < n_rows) & (column_C[None, :] < width)
            gate = row_R[:, None] * (N_GATES * width) + column_C[None, :]
            to_new, to_out = (N_GATES - 2) * width, (N_GATES - 1) * width
            old_RC = tl.load(memory + place, mask=is_here, other=0.0)
            in_RC = tl.load(from_input + gate, mask=is_here, other=0.0)
            in_RC += _from_state(states, mask, weight, 0, row_R, column_C, n_rows, width, DEPTH)
            new_RC = tl.load(from_input + gate + to_new, mask=is_here, other=0.0)
            new_RC += _from_state(states, mask, weight, N_GATES - 2, row_R, column_C, n_rows, width, DEPTH)
            out_RC = tl.load(from_input + gate + to_out, mask=is_here, other=0.0)
            out_RC += _from_state(states, mask, weight, N_GATES - 1, row_R, column_C, n_rows, width, DEPTH)
            if peephole is not None:
                in_RC += old_RC * tl.load(peephole + column_C, mask=column_C < width, other=0.0)[None, :]
            in_RC, new_RC = tl.sigmoid(in_RC), _tanh(new_RC)
            memory_RC = in_RC * new_RC
            if N_GATES == 4:
                forget_RC = tl.load(from_input + gate + width, mask=is_here, other=0.0)
                forget_RC += _from_state(states, mask, weight, 1, row_R, column_C, n_rows, width, DEPTH)
                if peephole is not None:
                    by_forget_C = tl.load(peephole + width + column_C, mask=column_C < width, other=0.0)
                    forget_RC += old_RC * by_forget_C[None, :]
                forget_RC = tl.sigmoid(forget_RC)
                tl.store(gates + gate + width, forget_RC, mask=is_here)
                memory_RC += forget_RC * old_RC
            else:
                memory_RC += old_RC
            if peephole is not None:
                out_RC += (
                    memory_RC * tl.load(peephole + 2 * width + column_C, mask=column_C < width, other=0.0)[None, :]
                )
            out_RC, squashed_RC = tl.sigmoid(out_RC), _tanh(memory_RC)
            tl.store(gates + gate, in_RC, mask=is_here)
            tl.store(gates + gate + to_out, out_RC, mask=is_here)
            tl.store(new + place, new_RC, mask=is_here)
            tl.store(memory + size + place, memory_RC, mask=is_here)
            tl.store(squashed + place, squashed_RC, mask=is_here)
            tl.store(states + size + place, out_RC * squashed_RC, mask=is_here)
        from_input += N_GATES * size
        gates += N_GATES * size
        new += size
        memory += size
        squashed += size
        states += size
        tl.debug_barrier()


@_kernel
def _gru(
    from_input, weight, new_bias, mask, gates, recurrent, new, states, length, n_rows, width,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr, DEPTH: tl.constexpr,
):  # fmt: skip
    """The input is that of the candidate, r and z; the weights are of r, z and the candidate."""
    row_R = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    size = n_rows * width
    for _ in range(length):
        for first in range(0, width, COLUMNS):
            column_C = first + tl.arange(0, COLUMNS)
            place = row_R[:, None] * width + column_C[None, :]
            is_here = (row_R[:, None] < n_rows) & (column_C[None, :] < width)
            given = row_R[:, None] * (3 * width) + column_C[None, :]
            reset_RC = tl.load(from_input + given + width, mask=is_here, other=0.0)
            reset_RC += _from_state(states, mask, weight, 0, row_R, column_C, n_rows, width, DEPTH)
            update_RC = tl.load(from_input + given + 2 * width, mask=is_here, other=0.0)
            update_RC += _from_state(states, mask, weight, 1, row_R, column_C, n_rows, width, DEPTH)
            recurrent_RC = _from_state(states, mask, weight, 2, row_R, column_C, n_rows, width, DEPTH)
            recurrent_RC += tl.load(new_bias + column_C, mask=column_C < width, other=0.0)[None, :]
            reset_RC, update_RC = tl.sigmoid(reset_RC), tl.sigmoid(update_RC)
            new_RC = _tanh(tl.load(from_input + given, mask=is_here, other=0.0) + reset_RC * recurrent_RC)
            before_RC = tl.load(states + place, mask=is_here, other=0.0)
            gate = row_R[:, None] * (2 * width) + column_C[None, :]
            tl.store(gates + gate, reset_RC, mask=is_here)
            tl.store(gates + gate + width, update_RC, mask=is_here)
            tl.store(recurrent + place, recurrent_RC, mask=is_here)
            tl.store(new + place, new_RC, mask=is_here)
            tl.store(states + size + place, new_RC + update_RC * (before_RC - new_RC), mask=is_here)
        from_input += 3 * size
        gates += 2 * size
        recurrent += size
        new += size
        states += size
        tl.debug_barrier()


@_kernel
def _goru(
    from_input, weight, bias, mask, products, candidates, states, length, n_rows, width,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr, DEPTH: tl.constexpr,
):  # fmt: skip
    """Input, weights and products are of r, z and the candidate; the products of r and z become the gates."""
    row_R = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    size = n_rows * width
    for _ in range(length):
        for first in range(0, width, COLUMNS):
            column_C = first + tl.arange(0, COLUMNS)
            place = row_R[:, None] * width + column_C[None, :]
            is_here = (row_R[:, None] < n_rows) & (column_C[None, :] < width)
            given = row_R[:, None] * (3 * width) + column_C[None, :]
            reset_RC = tl.load(from_input + given, mask=is_here, other=0.0)
            reset_RC += _from_state(states, mask, weight, 0, row_R, column_C, n_rows, width, DEPTH)
            update_RC = tl.load(from_input + given + width, mask=is_here, other=0.0)
            update_RC += _from_state(states, mask, weight, 1, row_R, column_C, n_rows, width, DEPTH)
            reset_RC, update_RC = tl.sigmoid(reset_RC), tl.sigmoid(update_RC)
            rotated_RC = _from_state(states, mask, weight, 2, row_R, column_C, n_rows, width, DEPTH)
            new_RC = tl.load(from_input + given + 2 * width, mask=is_here, other=0.0) + reset_RC * rotated_RC
            new_RC = _modrelu(new_RC, tl.load(bias + column_C, mask=column_C < width, other=0.0))
            before_RC = tl.load(states + place, mask=is_here, other=0.0)
            tl.store(products + given, reset_RC, mask=is_here)
            tl.store(products + given + width, update_RC, mask=is_here)
            tl.store(products + given + 2 * width, rotated_RC, mask=is_here)
            tl.store(candidates + place, new_RC, mask=is_here)
            tl.store(states + size + place, new_RC + update_RC * (before_RC - new_RC), mask=is_here)
        from_input += 3 * size
        products += 3 * size
        candidates += size
        states += size
        tl.debug_barrier()


@_kernel
def _gradient(
    grad, weight, mask, inner, more, kept, to_memory, carried, by_state, by_memory, length, n_rows, width,
    CELL: tl.constexpr, N_INNER: tl.constexpr, N_READ: tl.constexpr,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr, DEPTH: tl.constexpr,
):  # fmt: skip
    """Turn the slopes in `inner` into gradients, from the last step to the first.

    The last N_READ of the N_INNER are those of the product with the state. `grad` is that of all states but the last,
    by_state and by_memory are first those of the last state and memory, then of the initial ones.
    """
    row_R = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    size = n_rows * width
    for back in range(length):
        step = (length - 1 - back).to(tl.int64)
        inner_here = inner + step * N_INNER * size
        for first in range(0, width, COLUMNS):
            column_C = first + tl.arange(0, COLUMNS)
            place = row_R[:, None] * width + column_C[None, :]
            is_here = (row_R[:, None] < n_rows) & (column_C[None, :] < width)
            gates = inner_here + row_R[:, None] * (N_INNER * width) + column_C[None, :]
            by_state_RC = tl.load(by_state + place, mask=is_here, other=0.0)
            if CELL == "lstm":
                by_memory_RC = tl.load(by_memory + place, mask=is_here, other=0.0)
                by_memory_RC += by_state_RC * tl.load(to_memory + step * size + place, mask=is_here, other=0.0)
                for gate in tl.static_range(N_INNER - 1):
                    slope_RC = tl.load(gates + gate * width, mask=is_here, other=0.0)
                    tl.store(gates + gate * width, slope_RC * by_memory_RC, mask=is_here)
                slope_RC = tl.load(gates + (N_INNER - 1) * width, mask=is_here, other=0.0)
                tl.store(gates + (N_INNER - 1) * width, slope_RC * by_state_RC, mask=is_here)
                if carried is not None:
                    by_memory_RC *= tl.load(carried + step * size + place, mask=is_here, other=0.0)
                tl.store(by_memory + place, by_memory_RC, mask=is_here)
            elif CELL == "gru":  # the candidate, r, z, and what r multiplies
                new_RC = tl.load(gates, mask=is_here, other=0.0) * by_state_RC
                tl.store(gates, new_RC, mask=is_here)
                reset_RC = tl.load(gates + width, mask=is_here, other=0.0)
                tl.store(gates + width, reset_RC * new_RC, mask=is_here)
                update_RC = tl.load(gates + 2 * width, mask=is_here, other=0.0)
                tl.store(gates + 2 * width, update_RC * by_state_RC, mask=is_here)
                recurrent_RC = tl.load(gates + 3 * width, mask=is_here, other=0.0)
                tl.store(gates + 3 * width, recurrent_RC * new_RC, mask=is_here)
            else:
                for gate in tl.static_range(N_INNER):
                    slope_RC = tl.load(gates + gate * width, mask=is_here, other=0.0)
                    tl.store(gates + gate * width, slope_RC * by_state_RC, mask=is_here)
            if more is not None:
                slope_RC = tl.load(more + step * size + place, mask=is_here, other=0.0)
                tl.store(more + step * size + place, slope_RC * by_state_RC, mask=is_here)
        tl.debug_barrier()
        for first in range(0, width, COLUMNS):
            column_C = first + tl.arange(0, COLUMNS)
            place = row_R[:, None] * width + column_C[None, :]
            is_here = (row_R[:, None] < n_rows) & (column_C[None, :] < width)
            through_RC = _product(
                inner_here + (N_INNER - N_READ) * width, N_INNER * width, None, weight, width, 1,
                row_R, column_C, n_rows, N_READ * width, width, DEPTH,
            )  # fmt: skip
            if mask is not None:
                through_RC *= tl.load(mask + place, mask=is_here, other=0.0)
            through_RC += tl.load(grad + (step - 1) * size + place, mask=is_here & (step > 0), other=0.0)
            if kept is not None:
                by_state_RC = tl.load(by_state + place, mask=is_here, other=0.0)
                through_RC += by_state_RC * tl.load(kept + step * size + place, mask=is_here, other=0.0)
            tl.store(by_state + place, through_RC, mask=is_here)
        tl.debug_barrier()


@_kernel
def _sru(from_input, peephole, gates, memory, length, n_rows, width, PLACES: tl.constexpr):
    """Elementwise: the memory stays in registers."""
    place_P = tl.program_id(0) * PLACES + tl.arange(0, PLACES)
    is_here_P = place_P < n_rows * width
    row_P, column_P = place_P // width, place_P % width
    by_forget_P = tl.load(peephole + column_P)
    by_reset_P = tl.load(peephole + width + column_P)
    memory_P = tl.load(memory + place_P, mask=is_here_P, other=0.0)
    for _ in range(length):
        memory += n_rows * width
        given = from_input + row_P * (3 * width) + column_P
        forget_P = tl.sigmoid(tl.load(given, mask=is_here_P, other=0.0) + by_forget_P * memory_P)
        reset_P = tl.sigmoid(tl.load(given + width, mask=is_here_P, other=0.0) + by_reset_P * memory_P)
        value_P = tl.load(given + 2 * width, mask=is_here_P, other=0.0)
        memory_P = value_P + forget_P * (memory_P - value_P)
        gate = gates + row_P * (2 * width) + column_P
        tl.store(gate, forget_P, mask=is_here_P)
        tl.store(gate + width, reset_P, mask=is_here_P)
        tl.store(memory + place_P, memory_P, mask=is_here_P)
        from_input += 3 * n_rows * width
        gates += 2 * n_rows * width


def _launch(kernel: Any, given: tuple[Tensor | None, ...], states_LBD: Tensor, length: int, **constants: Any) -> None:
    n_rows, width = states_LBD.shape[-2:]
    columns = min(_COLUMNS, max(16, triton.next_power_of_2(width)))
    with torch.cuda.device_of(states_LBD):
        kernel[(triton.cdiv(n_rows, _ROWS),)](
            *given, length, n_rows, width, **constants, ROWS=_ROWS, COLUMNS=columns, DEPTH=columns, num_warps=_WARPS
        )


def _elman_steps(
    input_LBD: Tensor, weight_DD: Tensor, mask_BD: Tensor | None, nonlinearity: str, all_LBD: Tensor
) -> None:
    given = (input_LBD, weight_DD, None, mask_BD, all_LBD)
    _launch(_elman, given, all_LBD, len(input_LBD), SQUASH=nonlinearity)


def _orthogonal_steps(
    input_LBD: Tensor, matrix_DD: Tensor, bias_D: Tensor, mask_BD: Tensor | None, all_LBD: Tensor
) -> None:
    given = (input_LBD, matrix_DD, bias_D, mask_BD, all_LBD)
    _launch(_elman, given, all_LBD, len(input_LBD), SQUASH="modrelu")


def _lstm_steps(
    from_input_LBG: Tensor,
    weight_GD: Tensor,
    peephole_3D: Tensor | None,
    mask_BD: Tensor | None,
    gates_LBG: Tensor,
    new_LBD: Tensor,
    squashed_LBD: Tensor,
    memory_LBD: Tensor,
    all_LBD: Tensor,
) -> None:
    given = (from_input_LBG, weight_GD, peephole_3D, mask_BD, gates_LBG, new_LBD, squashed_LBD, memory_LBD, all_LBD)
    n_gates = len(weight_GD) // weight_GD.shape[1]
    _launch(_lstm, given, all_LBD, len(from_input_LBG), N_GATES=n_gates)


def _gru_steps(
    from_input_LBG: Tensor,
    weight_GD: Tensor,
    new_bias_D: Tensor,
    mask_BD: Tensor | None,
    gates_LB2: Tensor,
    recurrent_LBD: Tensor,
    new_LBD: Tensor,
    all_LBD: Tensor,
) -> None:
    given = (from_input_LBG, weight_GD, new_bias_D, mask_BD, gates_LB2, recurrent_LBD, new_LBD, all_LBD)
    _launch(_gru, given, all_LBD, len(from_input_LBG))


def _goru_steps(
    input_LBG: Tensor,
    weight_GD: Tensor,
    bias_D: Tensor,
    mask_BD: Tensor | None,
    products_LBG: Tensor,
    candidate_LBD: Tensor,
    all_LBD: Tensor,
) -> None:
    given = (input_LBG, weight_GD, bias_D, mask_BD, products_LBG, candidate_LBD, all_LBD)
    _launch(_goru, given, all_LBD, len(input_LBG))


def _sru_steps(from_input_LBG: Tensor, peephole_2D: Tensor, gates_LB2D: Tensor, memory_LBD: Tensor) -> None:
    n_rows, width = memory_LBD.shape[1:]
    given = (from_input_LBG, peephole_2D, gates_LB2D, memory_LBD)
    with torch.cuda.device_of(memory_LBD):
        _sru[(triton.cdiv(n_rows * width, 128),)](*given, len(from_input_LBG), n_rows, width, PLACES=128, num_warps=4)


def _elman_grad_steps(
    grad_LBD: Tensor, weight_DD: Tensor, mask_BD: Tensor | None, inner_LBD: Tensor, by_state_BD: Tensor
) -> None:
    given = (grad_LBD, weight_DD, mask_BD, inner_LBD, None, None, None, None, by_state_BD, None)
    _launch(_gradient, given, by_state_BD, len(inner_LBD), CELL="elman", N_INNER=1, N_READ=1)


def _lstm_grad_steps(
    grad_LBD: Tensor,
    weight_GD: Tensor,
    mask_BD: Tensor | None,
    to_memory_LBD: Tensor,
    carried_LBD: Tensor | None,
    inner_LBG: Tensor,
    by_memory_BD: Tensor,
    by_state_BD: Tensor,
) -> None:
    n_gates = len(weight_GD) // weight_GD.shape[1]
    given = (grad_LBD, weight_GD, mask_BD, inner_LBG, None, None, to_memory_LBD, carried_LBD, by_state_BD, by_memory_BD)
    _launch(_gradient, given, by_state_BD, len(inner_LBG), CELL="lstm", N_INNER=n_gates, N_READ=n_gates)


def _gru_grad_steps(
    grad_LBD: Tensor,
    weight_GD: Tensor,
    mask_BD: Tensor | None,
    kept_LBD: Tensor,
    inner_LB4: Tensor,
    by_state_BD: Tensor,
) -> None:
    given = (grad_LBD, weight_GD, mask_BD, inner_LB4, None, kept_LBD, None, None, by_state_BD, None)
    _launch(_gradient, given, by_state_BD, len(inner_LB4), CELL="gru", N_INNER=4, N_READ=3)


def _goru_grad_steps(
    grad_LBD: Tensor,
    weight_GD: Tensor,
    mask_BD: Tensor | None,
    update_LBD: Tensor,
    inner_LB3D: Tensor,
    slope_LBD: Tensor,
    by_state_BD: Tensor,
) -> None:
    given = (grad_LBD, weight_GD, mask_BD, inner_LB3D, slope_LBD, update_LBD, None, None, by_state_BD, None)
    _launch(_gradient, given, by_state_BD, len(inner_LB3D), CELL="goru", N_INNER=3, N_READ=3)


# By the names of the loops in the cells, whose arguments they take.
KERNELS: dict[str, Callable[..., None]] = {
    "elman_steps": _elman_steps,
    "orthogonal_steps": _orthogonal_steps,
    "lstm_steps": _lstm_steps,
    "gru_steps": _gru_steps,
    "goru_steps": _goru_steps,
    "sru_steps": _sru_steps,
    "elman_grad_steps": _elman_grad_steps,
    "lstm_grad_steps": _lstm_grad_steps,
    "gru_grad_steps": _gru_grad_steps,
    "goru_grad_steps": _goru_grad_steps,
}
