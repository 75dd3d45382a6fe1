"""PG-SimCLR: its loss as a loop, its positives, and what it needs."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import sparse
from urbankit_baselines.pg_simclr import nt_xent, strongest

from urbankit import registry
from urbankit.methods.base import MethodInputs
from urbankit.registry.component import Use
from urbankit.utils.errors import UserError

VIT = {"patch_size": 16, "hidden_size": 16, "layers": 1, "heads": 2, "augment": "overhead"}


def built(city, views=("poi", "distance"), modalities=("rsi",), **params):
    torch.manual_seed(0)
    graphs = {name: registry.create("view", Use(name=name)).build(city) for name in views}
    inputs = MethodInputs(city, {name: Use(name="vit", **VIT) for name in modalities}, graphs)
    return registry.create("method", Use(name="pg-simclr", projection=8, **params), inputs)


def by_hand(a: torch.Tensor, b: torch.Tensor, temperature: float) -> float:
    """ℓ(i, j) of SimCLR's section 2.1, summed over both orders of every pair and divided by 2B."""
    z, n, total = torch.cat([a, b]).double(), len(a), 0.0
    for i in range(2 * n):
        similar = [math.exp(float(torch.cosine_similarity(z[i], z[k], dim=0)) / temperature) for k in range(2 * n)]
        total -= math.log(similar[(i + n) % (2 * n)] / sum(s for k, s in enumerate(similar) if k != i))
    return total / (2 * n)


def test_the_loss_is_simclrs():
    a, b = torch.randn(2, 6, 5, generator=torch.Generator().manual_seed(0))
    assert float(nt_xent(a, b, 0.5)) == pytest.approx(by_hand(a, b, 0.5), rel=1e-5)


def test_one_pair_alone_costs_nothing_and_keeps_the_gradient():
    a = torch.randn(1, 5, requires_grad=True)
    loss = nt_xent(a, a * 2, 0.5)
    loss.backward()
    assert float(loss.detach()) == 0 and a.grad is not None


def test_strongest_is_a_sort_of_each_row():
    draw = np.random.default_rng(0)
    weights = draw.integers(0, 4, (9, 9)).astype(float)
    weights[2] = 0
    allowed = np.arange(9) != 4
    found = strongest(sparse.csr_array(weights), allowed, 3)
    for i in range(9):
        others = [j for j in range(9) if j != i and weights[i, j] and allowed[j] and allowed[i]]
        expected = sorted(others, key=lambda j: (-weights[i, j], j))[:3]
        assert found[i].tolist() == expected + [-1] * (3 - len(expected))


def test_the_nearest_region_is_the_positive_in_space(tiny_city):
    method = built(tiny_city)
    apart = np.linalg.norm(tiny_city.xy[:, None] - tiny_city.xy[None], axis=2)
    np.fill_diagonal(apart, np.inf)
    nearest = method.counterparts_distance[:, 0].numpy()
    assert np.allclose(apart[np.arange(49), nearest], apart.min(axis=1), rtol=1e-5)


def test_the_total_is_of_both_models_and_reaches_every_weight(tiny_city):
    method = built(tiny_city, neighbours=3).train()
    losses = method.loss(torch.arange(49))
    assert set(losses) == {"total", "distance", "poi"}
    assert torch.allclose(losses["total"], losses["distance"] + losses["poi"])
    losses["total"].backward()
    parameters = [p for ps in method.parts().values() for p in ps]
    assert {id(p) for p in parameters} == {id(p) for p in method.parameters()}
    assert sum(p.grad is not None and p.grad.abs().sum() > 0 for p in parameters) > 0.9 * len(parameters)


def test_the_loss_of_a_view_is_of_tiles_and_their_counterparts(tiny_city):
    method, regions = built(tiny_city).eval(), torch.arange(10, 20)
    with torch.no_grad():
        pool, encoder = method.pools["distance"], method.encoders["distance"]
        z, counterparts = (
            encoder.project(pool.encode(who)[0]) for who in (regions, method.counterparts_distance[regions, 0])
        )
        assert float(method.loss(regions)["distance"]) == pytest.approx(by_hand(z, counterparts, 0.5), rel=1e-4)


def test_tiles_are_augmented_in_training_alone(tiny_city):
    method, regions = built(tiny_city), torch.arange(49)
    with torch.no_grad():
        assert method.eval().loss(regions)["total"] == method.loss(regions)["total"]
        assert method.train().loss(regions)["total"] != method.loss(regions)["total"]
        torch.manual_seed(3)
        first = method.loss(regions)["total"]
        torch.manual_seed(3)
        assert method.loss(regions)["total"] == first


def test_regions_without_points_of_interest_take_no_part_there(tiny_city):
    method = built(tiny_city).eval()
    method.counterparts_poi[:40] = -1
    with torch.no_grad():
        assert float(method.loss(torch.arange(40))["poi"]) == 0.0
        assert torch.allclose(method.loss(torch.arange(49))["poi"], method.loss(torch.arange(40, 49))["poi"], atol=1e-5)


def test_a_batch_in_another_order_gives_the_same_rows_and_loss(tiny_city):
    method, regions = built(tiny_city).eval(), torch.arange(49)
    order = torch.randperm(49, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        assert torch.allclose(method(order), method(regions)[order], atol=1e-5)
        assert torch.allclose(method.loss(order)["total"], method.loss(regions)["total"], atol=1e-5)


def test_both_models_stand_side_by_side(tiny_city):
    method = built(tiny_city)
    assert method.blocks == [16, 16] and method.dim == 32
    assert built(tiny_city, fusion={"name": "add"}).dim == 16


def test_what_recipe_or_city_lack_is_named(tiny_city):
    cls = registry.get("method", "pg-simclr")
    assert [key for key, _ in cls.check(cls.Params(), {"svi"}, {"mobility"})] == ["tiles", "space", "function"]
    assert cls.check(cls.Params(), {"rsi"}, {"poi", "distance"}) == []
    with pytest.raises(UserError, match=r"method.function: the city has no data for the view 'poi'"):
        built(tiny_city, views=("distance",))
    with pytest.raises(UserError, match=r"method.tiles: the city has no data for the modality 'rsi'"):
        built(tiny_city, modalities=())
