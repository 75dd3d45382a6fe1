"""Pair weights: the formula of agreement, its warm-up, and that wrong pairs count less."""

import math

import pytest
import torch

from urbankit import registry
from urbankit.registry.component import Use


def agreement(**params):
    return registry.create("pair_weight", Use(name="agreement", **params))


@pytest.fixture
def pairs() -> tuple[torch.Tensor, torch.Tensor]:
    """Twenty pairs that belong together, and ten of which the second is another's."""
    generator = torch.Generator().manual_seed(0)
    a = torch.randn(30, 8, generator=generator)
    b = a + 0.5 * torch.randn(30, 8, generator=generator)
    b[20:] = b[20:].roll(1, dims=0)
    return a, b


def test_uniform_gives_no_weights(pairs):
    assert registry.create("pair_weight", Use(name="uniform"))(*pairs) is None


def test_agreement_matches_its_formula(pairs):
    a, b = (x[:6] for x in pairs)
    cosine = [[float(torch.cosine_similarity(x, y, dim=0)) for y in b] for x in a]
    margin = [cosine[i][i] - sum(cosine[i][j] + cosine[j][i] for j in range(6)) / 12 for i in range(6)]
    mean = sum(margin) / 6
    deviation = math.sqrt(sum((m - mean) ** 2 for m in margin) / 5)
    raw = [1 / (1 + math.exp(-3 * (m - mean) / deviation)) for m in margin]
    expected = torch.tensor([6 * r / sum(raw) for r in raw])
    assert torch.allclose(agreement(sharpness=3, warmup=0)(a, b), expected, atol=1e-5)


def test_wrong_pairs_get_lower_weights(pairs):
    weight = agreement(warmup=0)(*pairs)
    assert weight[20:].mean() < 0.5 and weight[:20].mean() > 1.2


def test_weights_start_equal_and_change_only_with_training_steps(pairs):
    weigh = agreement(warmup=4)
    full = agreement(warmup=0)(*pairs)
    assert torch.equal(weigh.eval()(*pairs), torch.ones(30)), "validation is no step"
    weigh.train()
    seen = [weigh(*pairs) for _ in range(6)]
    for step, weight in enumerate(seen):
        assert torch.allclose(weight, 1 + min(step / 4, 1) * (full - 1), atol=1e-6)


def test_resumed_training_continues_the_warmup(pairs):
    one, two = agreement(warmup=4), agreement(warmup=4)
    one(*pairs), one(*pairs)
    two.load_state_dict(one.state_dict())
    assert torch.equal(one(*pairs), two(*pairs))


@pytest.mark.parametrize("n", [0, 1])
def test_too_few_pairs_get_weight_one(n):
    assert torch.equal(agreement(warmup=0)(torch.randn(n, 3), torch.randn(n, 3)), torch.ones(n))
