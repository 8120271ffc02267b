"""The pretended device itself: what a real one would refuse, launch or wait for is seen."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from pretended_cuda.counting import Counting

CUDA = torch.device("cuda")
MIXES: dict[str, Callable[[torch.Tensor], object]] = {
    "a sum": lambda x_3: x_3 + torch.ones(3),
    "a product": lambda x_3: torch.mm(x_3[None], torch.ones(3, 1)),
    "a concatenation": lambda x_3: torch.cat([x_3, torch.ones(1)]),
    "an index": lambda x_3: x_3.index_select(0, torch.tensor([1])),
    "a look-up": lambda x_3: torch.nn.functional.embedding(torch.tensor([1]), x_3[:, None]),
    "a loss": lambda x_3: torch.nn.functional.cross_entropy(x_3[None], torch.tensor([1])),
    "numpy": lambda x_3: x_3.numpy(),
    "a second GPU": lambda x_3: torch.ones(3, device="cuda:1"),
}
WAITS: dict[str, Callable[[torch.Tensor], object]] = {
    "item": lambda x_3: float(x_3[0]),
    "tolist": lambda x_3: x_3.tolist(),
    "a copy to the host": lambda x_3: x_3.cpu(),
    "a copy from the host": lambda x_3: torch.from_numpy(np.ones(3)).to(CUDA),
    "a list of numbers": lambda x_3: torch.tensor([1.0, 2.0], device=CUDA),
    "a mask": lambda x_3: x_3[x_3 > 0],
    "a mask that is written to": lambda x_3: x_3.clone().index_put_((x_3 > 0,), x_3[0]),
    "nonzero": lambda x_3: x_3.nonzero(),
    "unique": lambda x_3: x_3.unique(),
    "coalesce": lambda x_3: torch.sparse_coo_tensor(
        torch.zeros(1, 3, device=CUDA).long(), x_3, (4,), check_invariants=False
    ).coalesce(),
    "a matrix exponential": lambda x_3: torch.matrix_exp(x_3 * x_3[:, None]),
    "bincount": lambda x_3: torch.bincount(x_3.long()),
}


@pytest.mark.parametrize("what", MIXES)
def test_a_mix_of_devices_is_refused(what: str) -> None:
    with pytest.raises((RuntimeError, TypeError), match=r"same device|invalid device|can't convert cuda"):
        MIXES[what](torch.ones(3, device=CUDA))


@pytest.mark.parametrize("what", WAITS)
def test_a_wait_of_the_host_is_counted(what: str) -> None:
    x_3 = torch.ones(3, device=CUDA)
    with Counting() as counted:
        WAITS[what](x_3)
    assert counted.n_waits >= 1


def test_launches_are_counted_and_views_are_not() -> None:
    x_3 = torch.ones(3, device=CUDA).requires_grad_()
    with Counting() as counted:
        x_3[1:].view(2, 1).t()
        torch.empty_like(x_3)
    assert (counted.n_launches, counted.n_waits) == (0, 0)
    with Counting() as counted:
        total = (x_3 * 2).sum()
        total.backward()
        torch._foreach_mul_([x_3.grad, x_3.grad], 2.0)
    assert counted.launches == {"mul": 2, "sum": 1, "ones_like": 1, "_foreach_mul_": 1}
    assert counted.n_waits == 0


def test_numbers_views_and_draws_are_those_of_the_cpu() -> None:
    x_23 = torch.arange(6.0, device=CUDA).view(2, 3)
    x_23[1].mul_(2)
    x_23[:, 1:] += 1
    assert x_23.tolist() == [[0.0, 2.0, 3.0], [6.0, 9.0, 11.0]]
    torch.manual_seed(3)
    torch.cuda.manual_seed_all(3)
    assert torch.equal(torch.rand(4, device=CUDA).cpu(), torch.rand(4))
    torch.default_generator.manual_seed(3)  # alone it leaves the GPU's generator as it is
    assert not torch.equal(torch.rand(4, device=CUDA).cpu(), torch.rand(4))
