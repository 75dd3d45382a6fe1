"""Fusions: what they compute, and that an absent vector has no influence."""

from __future__ import annotations

import pytest
import torch

from urbankit import registry
from urbankit.component import Use
from urbankit.errors import UserError


def fused(name: str, vectors, present, **params):
    torch.manual_seed(0)
    fusion = registry.create("fusion", Use(name=name, **params), [v.shape[1] for v in vectors], 4)
    return fusion, fusion(vectors, present)


@pytest.fixture
def vectors() -> list[torch.Tensor]:
    return [torch.randn(3, 4), torch.randn(3, 4)]


EVERYWHERE = [torch.ones(3, dtype=torch.bool)] * 2
PARTLY = [torch.tensor([True, True, False]), torch.tensor([True, False, False])]


def test_add_sums_what_is_present_and_rescales(vectors):
    _, out = fused("add", vectors, PARTLY)
    assert torch.allclose(out[0], vectors[0][0] + vectors[1][0])
    assert torch.allclose(out[1], 2 * vectors[0][1])
    assert torch.equal(out[2], torch.zeros(4))


def test_add_without_rescaling_is_the_plain_sum(vectors):
    _, out = fused("add", vectors, PARTLY, rescale=False)
    assert torch.allclose(out[1], vectors[0][1])


def test_add_refuses_vectors_of_several_widths():
    with pytest.raises(UserError, match=r"several widths.*concat"):
        registry.create("fusion", Use(name="add"), [3, 4], 4)


def test_concat_keeps_every_number(vectors):
    fusion, out = fused("concat", vectors, EVERYWHERE)
    assert fusion.out_dim == 8
    assert torch.equal(out, torch.cat(vectors, dim=1))


def test_mlp_delivers_the_width_asked_for(vectors):
    fusion, out = fused("mlp", vectors, EVERYWHERE, hidden=5)
    assert out.shape == (3, 4) and fusion.out_dim == 4


@pytest.mark.parametrize("name", ["add", "concat", "mlp"])
def test_what_an_absent_row_holds_has_no_influence(name, vectors):
    fusion, before = fused(name, vectors, PARTLY)
    changed = [v.masked_fill(~p.unsqueeze(1), float("nan")) for v, p in zip(vectors, PARTLY, strict=True)]
    assert torch.equal(fusion(changed, PARTLY), before)


@pytest.mark.parametrize("name", ["add", "concat", "mlp"])
def test_permuting_the_regions_permutes_the_result(name, vectors):
    fusion, out = fused(name, vectors, PARTLY)
    order = torch.tensor([2, 0, 1])
    assert torch.allclose(fusion([v[order] for v in vectors], [p[order] for p in PARTLY]), out[order])
