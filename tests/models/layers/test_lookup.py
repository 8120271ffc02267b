import pytest
import torch
import torch.nn.functional as F
from torch import nn

from sentiment_cli.models.layers.lookup import look_up


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("padding_id", [None, 3])
@pytest.mark.parametrize("shape", [(1, 1), (7, 5), (64, 33)])
def test_vectors_and_gradient_are_those_of_torch(sparse: bool, padding_id: int | None, shape: tuple[int, int]) -> None:
    torch.manual_seed(0)
    table = nn.Embedding(50, 3, padding_id, sparse=sparse)
    ids_BL, weight_BLD = torch.randint(0, 50, shape), torch.randn(*shape, 3)
    found_BLD = look_up(ids_BL, table)
    expected_BLD = F.embedding(ids_BL, table.weight, padding_id)
    torch.testing.assert_close(found_BLD, expected_BLD, rtol=0, atol=0)
    (found,) = torch.autograd.grad((found_BLD * weight_BLD).sum(), table.weight)
    (expected,) = torch.autograd.grad((expected_BLD * weight_BLD).sum(), table.weight)
    assert found.is_sparse == sparse
    torch.testing.assert_close(found.to_dense(), expected)
    if sparse:
        assert found._indices()[0].tolist() == sorted(set(ids_BL.flatten().tolist()))


def test_the_gradient_has_the_same_bits_each_time() -> None:
    torch.manual_seed(0)
    table, ids_BL = nn.Embedding(400, 64), torch.randint(0, 400, (64, 500)) ** 2 // 400
    weight_BLD = torch.randn(64, 500, 64)
    grads = [torch.autograd.grad((look_up(ids_BL, table) * weight_BLD).sum(), table.weight)[0] for _ in range(5)]
    assert all(torch.equal(grad, grads[0]) for grad in grads)
