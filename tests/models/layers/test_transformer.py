"""The Transformer against its equations, one row and one head at a time."""

import math

import pytest
import torch
from torch import Tensor

from sentiment_cli.config import schema
from sentiment_cli.models.layers.transformer import TransformerBlock, TransformerEncoder, sinusoids
from sentiment_cli.training.weights_init import draw_weights

LENGTHS = torch.tensor([5, 1, 9, 3])


def normed(norm: torch.nn.LayerNorm, x_LD: Tensor) -> Tensor:
    centred = x_LD - x_LD.mean(1, keepdim=True)
    return centred / (centred.square().mean(1, keepdim=True) + 1e-5).sqrt() * norm.weight + norm.bias


def block_plainly(block: TransformerBlock, x_LD: Tensor) -> Tensor:
    width = x_LD.shape[1]
    h_LD, of_head, heads = normed(block.attention_norm, x_LD), width // block.heads, []
    weight, bias = block.query_key_value.weight, block.query_key_value.bias
    for first in range(0, width, of_head):
        rows = [slice(kind * width + first, kind * width + first + of_head) for kind in range(3)]
        q, k, v = (h_LD @ weight[row].T + bias[row] for row in rows)
        weights = (q @ k.T / math.sqrt(of_head)).exp()
        heads.append(weights / weights.sum(1, keepdim=True) @ v)
    x_LD = x_LD + torch.cat(heads, dim=1) @ block.joined.weight.T + block.joined.bias
    z = normed(block.inner_norm, x_LD) @ block.inner.weight.T + block.inner.bias
    gelu = z * (1 + torch.erf(z / math.sqrt(2))) / 2
    return x_LD + gelu @ block.outer.weight.T + block.outer.bias


@pytest.mark.parametrize("heads", [1, 2, 4])
@pytest.mark.parametrize("layers", [1, 3])
@pytest.mark.parametrize("input_width", [8, 5])
def test_it_is_its_equations_on_each_row_alone(heads: int, layers: int, input_width: int) -> None:
    torch.manual_seed(0)
    encoder = TransformerEncoder(schema.Encoder(width=8, heads=heads, layers=layers), input_width).double()
    for parameter in encoder.parameters():  # norms, too, have something to get wrong
        torch.nn.init.normal_(parameter, std=0.5)
    input_BLD = torch.randn(4, 9, input_width).double()
    encoded = encoder(input_BLD, LENGTHS)
    for i, length in enumerate(LENGTHS):
        x_LD = input_BLD[i, :length]
        if input_width != 8:
            x_LD = x_LD @ encoder.enter.weight.T + encoder.enter.bias
        rates = [10_000 ** (-(column - column % 2) / 8) for column in range(8)]
        angle_LD = torch.arange(int(length)).double()[:, None] * torch.tensor(rates, dtype=torch.float64)
        x_LD = x_LD + torch.where(torch.arange(8) % 2 == 0, angle_LD.sin(), angle_LD.cos())
        for block in encoder.blocks:
            x_LD = block_plainly(block, x_LD)
        x_LD = normed(encoder.norm, x_LD)
        torch.testing.assert_close(encoded.states_BLD[i, :length], x_LD, atol=1e-10, rtol=0)
        torch.testing.assert_close(encoded.last_BD[i], x_LD[-1], atol=1e-10, rtol=0)


def test_a_block_is_its_equations_with_their_gradients() -> None:
    torch.manual_seed(0)
    block, x_LD = TransformerBlock(8, 2, 0.0).double(), torch.randn(7, 8).double().requires_grad_()
    factor_LD, everything = torch.randn(7, 8).double(), torch.ones(1, 1, 1, 7, dtype=torch.bool)
    found = []
    for y_LD in (block_plainly(block, x_LD), block(x_LD[None], everything)[0]):
        found.append([y_LD, *torch.autograd.grad((y_LD * factor_LD).sum(), [x_LD, *block.parameters()])])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(other, one, atol=1e-10, rtol=1e-10)


def test_positions_of_an_odd_width_lack_the_last_cosine() -> None:
    position_LD = sinusoids(6, 5, torch.device("cpu"), torch.float64)
    assert position_LD.shape == (6, 5)
    torch.testing.assert_close(position_LD[:, 0], torch.arange(6.0, dtype=torch.float64).sin())


def test_dropout_acts_on_each_residual_branch_in_training_only() -> None:
    torch.manual_seed(0)
    encoder = TransformerEncoder(schema.Encoder(width=8, dropout=0.5), 8)
    input_BLD = torch.randn(4, 9, 8)
    one, other = (encoder(input_BLD, LENGTHS).states_BLD for _ in range(2))
    assert not torch.allclose(one, other)
    encoder.eval()
    one, other = (encoder(input_BLD, LENGTHS).states_BLD for _ in range(2))
    assert torch.equal(one, other)


def test_initialization_does_not_change_norms() -> None:
    encoder = TransformerEncoder(schema.Encoder(width=8), 8)
    draw_weights(encoder, schema.Model(init="glorot"))
    assert all((norm.weight == 1).all() for norm in encoder.modules() if isinstance(norm, torch.nn.LayerNorm))
    assert (encoder.blocks[0].inner.bias == 0).all()
