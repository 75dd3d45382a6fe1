"""The contrastive losses against the paper's sums, written out as loops."""

import math

import pytest
import torch

from urbankit.methods.losses import info_nce, two_way_info_nce


def cosine(a: torch.Tensor, b: torch.Tensor) -> float:
    return float(a @ b / (a.norm() * b.norm()))


def one_way_by_hand(a: torch.Tensor, b: torch.Tensor, temperature: float) -> float:
    n, total = len(a), 0.0
    for i in range(n):
        numerator = math.exp(cosine(a[i], b[i]) / temperature)
        total += math.log(numerator / sum(math.exp(cosine(a[i], b[j]) / temperature) for j in range(n)))
    return -total / n


@pytest.fixture
def pair() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(7, 5, generator=generator), torch.randn(7, 5, generator=generator)


def test_one_and_two_way_losses_match_equations_25_and_12(pair):
    a, b = pair
    assert float(info_nce(a, b, 0.5)) == pytest.approx(one_way_by_hand(a, b, 0.5), rel=1e-5)
    expected = one_way_by_hand(a, b, 0.3) + one_way_by_hand(b, a, 0.3)
    assert float(two_way_info_nce(a, b, 0.3)) == pytest.approx(expected, rel=1e-5)


def test_loss_ignores_vector_length_region_order_and_unit_weights(pair):
    a, b = pair
    assert torch.allclose(two_way_info_nce(a * 10, b, 0.5), two_way_info_nce(a, b, 0.5), atol=1e-6)
    order = torch.randperm(7, generator=torch.Generator().manual_seed(1))
    assert torch.allclose(info_nce(a[order], b[order], 0.5), info_nce(a, b, 0.5), atol=1e-6)
    assert torch.allclose(two_way_info_nce(*pair, 0.5, torch.ones(7)), two_way_info_nce(*pair, 0.5), atol=1e-6)


@pytest.mark.parametrize("n", [0, 1])
def test_loss_of_too_few_regions_is_zero_with_a_gradient(n):
    a, b = torch.randn(n, 3, requires_grad=True), torch.randn(n, 3, requires_grad=True)
    loss = two_way_info_nce(a, b, 0.5) + info_nce(a, b, 0.5)
    assert float(loss.detach()) == 0.0
    loss.backward()
    assert a.grad is not None


def test_weights_multiply_the_terms_of_their_rows(pair):
    a, b = pair
    weight = torch.tensor([0.0, 2.0, 1.0, 1.0, 0.5, 1.5, 1.0])
    total = 0.0
    for i in range(7):
        for x, y in ((a, b), (b, a)):
            total -= float(weight[i]) * math.log(
                math.exp(cosine(x[i], y[i]) / 0.5) / sum(math.exp(cosine(x[i], y[j]) / 0.5) for j in range(7))
            )
    assert float(two_way_info_nce(a, b, 0.5, weight)) == pytest.approx(total / 7, rel=1e-5)
