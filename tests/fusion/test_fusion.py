"""Fusions: what they compute, and that an absent vector has no influence."""

import pytest
import torch

from urbankit import registry
from urbankit.registry.component import Use
from urbankit.utils.errors import UserError


def fused(name: str, vectors, present, **params):
    torch.manual_seed(0)
    fusion = registry.create("fusion", Use(name=name, **params), [v.shape[1] for v in vectors], 4)
    return fusion, fusion(vectors, present)


@pytest.fixture
def vectors() -> list[torch.Tensor]:
    return [torch.randn(3, 4), torch.randn(3, 4)]


EVERYWHERE = [torch.ones(3, dtype=torch.bool)] * 2
PARTLY = [torch.tensor([True, True, False]), torch.tensor([True, False, False])]


def test_add_sums_present_vectors_and_rescales_by_default(vectors):
    _, out = fused("add", vectors, PARTLY)
    assert torch.allclose(out[0], vectors[0][0] + vectors[1][0])
    assert torch.allclose(out[1], 2 * vectors[0][1])
    assert torch.equal(out[2], torch.zeros(4))
    _, out = fused("add", vectors, PARTLY, rescale=False)
    assert torch.allclose(out[1], vectors[0][1])


@pytest.mark.parametrize("name", ["add", "attention"])
def test_fusions_of_one_width_refuse_several_widths(name):
    with pytest.raises(UserError, match=r"several widths.*concat"):
        registry.create("fusion", Use(name=name), [3, 4], 4)


def test_attention_matches_its_formula(vectors):
    fusion, _ = fused("attention", vectors, PARTLY, hidden=3)
    torch.nn.init.normal_(fusion.bias)
    out = fusion(vectors, PARTLY)
    for row in range(3):
        present = [k for k in range(2) if PARTLY[k][row]]
        scores = [fusion.query @ torch.tanh(fusion.key.weight @ vectors[k][row] + fusion.bias[k]) for k in present]
        total = sum(score.exp() for score in scores)
        expected = sum(
            (s.exp() / total * vectors[k][row] for s, k in zip(scores, present, strict=True)), torch.zeros(4)
        )
        assert torch.allclose(out[row], expected, atol=1e-6)


def test_attention_weights_sum_to_one_and_gradients_stay_finite_without_any_vector(vectors):
    fusion, _ = fused("attention", vectors, PARTLY)
    weights = fusion.weights(vectors, PARTLY)
    assert torch.allclose(weights.sum(dim=1), torch.tensor([1.0, 1.0, 0.0]))
    assert weights[1, 1] == 0
    vectors = [v.requires_grad_() for v in vectors]
    fusion(vectors, PARTLY).sum().backward()
    assert all(torch.isfinite(v.grad).all() for v in vectors)
    assert fusion.query.grad.abs().sum() > 0


def test_concat_keeps_every_number_and_mlp_has_the_requested_width(vectors):
    fusion, out = fused("concat", vectors, EVERYWHERE)
    assert fusion.out_dim == 8
    assert torch.equal(out, torch.cat(vectors, dim=1))
    fusion, out = fused("mlp", vectors, EVERYWHERE, hidden=5)
    assert out.shape == (3, 4) and fusion.out_dim == 4
