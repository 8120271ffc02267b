"""Attribution with torch: integrated gradients, and attention weights."""

import copy
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sentiment_cli import console
from sentiment_cli.models.classifier import Classifier

# By how much the contributions may miss what they are to add up to: a share of it, or so much where that is little.
_SHARE, _LEAST = 0.01, 1e-3
_FIRST_PIECES, _MOST_POINTS = 4, 4096
_MOST_TOKENS = 400_000  # in all points together, so that a text of more than 97 tokens gets fewer
# Gauss-Lobatto points and weights of five on [0, 1]: exact to degree 7, and the ends are among the points, so that the
# difference over each piece is known.
_POINTS = (np.array([-1.0, -((3 / 7) ** 0.5), 0.0, (3 / 7) ** 0.5, 1.0]) + 1) / 2
_WEIGHTS = np.array([9.0, 49.0, 64.0, 49.0, 9.0]) / 180
_TOKENS_AT_ONCE = 16_384  # whose states are kept for their gradients: 200 MB at a width of 128


class Integral(NamedTuple):
    """Contribution of each token between `start` and `end` of the path, and the outputs at both ends."""

    start: float
    end: float
    added_L: NDArray[np.float64]
    before: float
    after: float
    is_ended: bool = False  # by the number of points, not by the precision of the numbers

    @property
    def gap(self) -> float:
        """By how much the sum misses the difference of the ends."""
        return float(self.added_L.sum()) - (self.after - self.before)

    @property
    def allowed(self) -> float:
        """The tolerated gap of a whole path."""
        return max(_SHARE * abs(self.after - self.before), _LEAST)


def integrate_row(
    model: Classifier, baseline_L: NDArray[np.int64], ids_L: NDArray[np.int64], direction_C: NDArray[np.float64]
) -> Integral:
    """Integrate the gradient of a model's output from the vectors of one row to those of another, of the same length.

    The output is the logits' product with `direction_C`. The vectors of hashed n-grams and the channels of a wide part
    belong to the word that ends them; what a linear model adds to the logits is the same all along the path. Sentences
    end where they do in the row at the end of the path. What float32 is too coarse for is looked for again in float64:
    a trained tanh recurrence was met that jumps from one state to another within 1e-10 of a path.
    """
    found = _integrate_row(model, baseline_L, ids_L, direction_C)
    if abs(found.gap) > found.allowed and not found.is_ended:
        found = _integrate_row(copy.deepcopy(model).double(), baseline_L, ids_L, direction_C)
    return found


def _integrate_row(
    model: Classifier, baseline_L: NDArray[np.int64], ids_L: NDArray[np.int64], direction_C: NDArray[np.float64]
) -> Integral:
    weight_C, row_1L = torch.from_numpy(direction_C), torch.from_numpy(ids_L)[None]

    n_read = 0

    def read(points_BLD: Tensor) -> Tensor:
        nonlocal n_read
        n, length = points_BLD.shape[:2]
        n_read += n * length
        shown.update(n_read)
        logits = model(row_1L.expand(n, -1), torch.full((n,), length), points_BLD)
        value_B: Tensor = logits.view(n, -1).double() @ weight_C
        return value_B

    with torch.no_grad():
        from_LD, to_LD = model.inputs(torch.from_numpy(np.stack([baseline_L, ids_L])), torch.tensor([len(ids_L)] * 2))[
            0
        ]
    with console.progress("tokens integrated", None) as shown:
        return integrate(read, from_LD, to_LD)


def integrate(read: Callable[[Tensor], Tensor], from_LD: Tensor, to_LD: Tensor) -> Integral:
    """Integrate the gradient of `read`, which returns value_B of points_BLD, along the line between two points.

    Sundararajan et al. 2017, equation 1: token t adds (x_t - b_t) · ∫ ∂f(b + a (x - b)) / ∂x_t da, a from 0 to 1. On
    every piece of the line the sum should be the difference of the ends (completeness). The pieces that miss it most
    are halved, as far as the numbers' precision goes, until all together miss no more than 1 % of the whole difference,
    or 0.001, or 4,096 points have been read, fewer of a long row: where states are pooled by their maximum the gradient
    jumps, and fixed steps would have to be many.
    """
    most_points = min(_MOST_POINTS, _MOST_TOKENS // len(from_LD))
    narrowest = torch.finfo(from_LD.dtype).eps * 8
    pieces: list[Integral] = []
    halves = [(i / _FIRST_PIECES, (i + 1) / _FIRST_PIECES) for i in range(_FIRST_PIECES)]
    n_points = 0
    while True:
        pieces += _integrate_pieces(read, from_LD, to_LD, halves)
        n_points += len(halves) * len(_POINTS)
        added_L = np.sum([piece.added_L for piece in pieces], axis=0)
        whole = Integral(0.0, 1.0, added_L, min(pieces).before, max(pieces).after)
        missed = sum(abs(piece.gap) for piece in pieces)
        kept: list[Integral] = []
        worst: list[Integral] = []
        for piece in pieces:
            is_bad = abs(piece.gap) > whole.allowed / len(pieces) and piece.end - piece.start > narrowest
            (worst if is_bad else kept).append(piece)
        if missed <= whole.allowed or not worst or n_points >= most_points:
            return whole._replace(is_ended=bool(worst))
        pieces = kept
        cuts = [(piece.start, (piece.start + piece.end) / 2, piece.end) for piece in worst]
        halves = [half for cut in cuts for half in pairwise(cut)]


def _integrate_pieces(
    read: Callable[[Tensor], Tensor], from_LD: Tensor, to_LD: Tensor, pieces: Sequence[tuple[float, float]]
) -> Iterator[Integral]:
    """Yield the integral over each piece of the line, by five points."""
    step_LD = to_LD - from_LD
    place_N = np.concatenate([start + (end - start) * _POINTS for start, end in pieces])
    values, slopes = [], []
    rows = max(1, _TOKENS_AT_ONCE // len(step_LD))
    for place_B in torch.split(torch.from_numpy(place_N).to(step_LD.dtype), rows):
        points_BLD = torch.lerp(from_LD, to_LD, place_B[:, None, None]).requires_grad_()
        value_B = read(points_BLD)
        (grad_BLD,) = torch.autograd.grad(value_B.sum(), points_BLD)
        values.append(value_B.detach().numpy())
        slopes.append((grad_BLD.double() * step_LD).sum(2).numpy())
    value_N5 = np.concatenate(values).reshape(-1, len(_POINTS))
    slope_N5L = np.concatenate(slopes).reshape(*value_N5.shape, -1)
    for (start, end), value_5, slope_5L in zip(pieces, value_N5, slope_N5L, strict=True):
        yield Integral(start, end, (end - start) * (_WEIGHTS @ slope_5L), float(value_5[0]), float(value_5[-1]))


@torch.no_grad()
def attention_weights(model: Classifier, ids_L: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the attention weight of each token's state; they sum to 1. The model must use attention pooling."""
    assert model.pooling is not None
    length_1 = torch.tensor([len(ids_L)])
    ids_1L = torch.from_numpy(ids_L)[None]
    encoded = model.encode(ids_1L, length_1, model.inputs(ids_1L, length_1)[0])
    weight_L: NDArray[np.float64] = model.pooling.weights(encoded.states_BLD, length_1)[0].double().numpy()
    return weight_L
