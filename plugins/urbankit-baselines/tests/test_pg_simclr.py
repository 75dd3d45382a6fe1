"""PG-SimCLR: loss, positives and requirements."""

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


def build(city, views=("poi", "distance"), modalities=("rsi",), **params):
    torch.manual_seed(0)
    graphs = {name: registry.create("view", Use(name=name)).build(city) for name in views}
    inputs = MethodInputs(city, {name: Use(name="vit", **VIT) for name in modalities}, graphs)
    return registry.create("method", Use(name="pg-simclr", projection=8, **params), inputs)


def nt_xent_by_loops(a: torch.Tensor, b: torch.Tensor, temperature: float) -> float:
    """ℓ(i, j) of SimCLR's section 2.1, summed over both orders of every pair and divided by 2B."""
    z, n, total = torch.cat([a, b]).double(), len(a), 0.0
    for i in range(2 * n):
        similar = [math.exp(float(torch.cosine_similarity(z[i], z[k], dim=0)) / temperature) for k in range(2 * n)]
        total -= math.log(similar[(i + n) % (2 * n)] / sum(s for k, s in enumerate(similar) if k != i))
    return total / (2 * n)


def test_loss_matches_the_formula_of_simclr():
    a, b = torch.randn(2, 6, 5, generator=torch.Generator().manual_seed(0))
    assert float(nt_xent(a, b, 0.5)) == pytest.approx(nt_xent_by_loops(a, b, 0.5), rel=1e-5)


def test_loss_of_one_pair_is_zero_with_a_gradient():
    a = torch.randn(1, 5, requires_grad=True)
    loss = nt_xent(a, a * 2, 0.5)
    loss.backward()
    assert float(loss.detach()) == 0 and a.grad is not None


def test_strongest_sorts_each_row():
    draw = np.random.default_rng(0)
    weights = draw.integers(0, 4, (9, 9)).astype(float)
    weights[2] = 0
    allowed = np.arange(9) != 4
    result = strongest(sparse.csr_array(weights), allowed, 3)
    for i in range(9):
        others = [j for j in range(9) if j != i and weights[i, j] and allowed[j] and allowed[i]]
        expected = sorted(others, key=lambda j: (-weights[i, j], j))[:3]
        assert result[i].tolist() == expected + [-1] * (3 - len(expected))


def test_positive_in_space_is_the_nearest_region(tiny_city):
    method = build(tiny_city)
    apart = np.linalg.norm(tiny_city.xy[:, None] - tiny_city.xy[None], axis=2)
    np.fill_diagonal(apart, np.inf)
    nearest = method.counterparts_distance[:, 0].numpy()
    assert np.allclose(apart[np.arange(49), nearest], apart.min(axis=1), rtol=1e-5)


def test_total_loss_sums_both_models_and_has_gradients_for_all_weights(tiny_city):
    method = build(tiny_city, neighbours=3).train()
    losses = method.loss(torch.arange(49))
    assert set(losses) == {"total", "distance", "poi"}
    assert torch.allclose(losses["total"], losses["distance"] + losses["poi"])
    losses["total"].backward()
    parameters = [p for ps in method.parts().values() for p in ps]
    assert {id(p) for p in parameters} == {id(p) for p in method.parameters()}
    assert sum(p.grad is not None and p.grad.abs().sum() > 0 for p in parameters) > 0.9 * len(parameters)


def test_loss_of_a_view_compares_tiles_with_their_counterparts(tiny_city):
    method, regions = build(tiny_city).eval(), torch.arange(10, 20)
    with torch.no_grad():
        pool, encoder = method.pools["distance"], method.encoders["distance"]
        z, counterparts = (
            encoder.project(pool.encode(rows)[0]) for rows in (regions, method.counterparts_distance[regions, 0])
        )
        assert float(method.loss(regions)["distance"]) == pytest.approx(
            nt_xent_by_loops(z, counterparts, 0.5), rel=1e-4
        )


def test_tiles_are_augmented_in_training_only(tiny_city):
    method, regions = build(tiny_city), torch.arange(49)
    with torch.no_grad():
        assert method.eval().loss(regions)["total"] == method.loss(regions)["total"]
        assert method.train().loss(regions)["total"] != method.loss(regions)["total"]
        torch.manual_seed(3)
        first = method.loss(regions)["total"]
        torch.manual_seed(3)
        assert method.loss(regions)["total"] == first


def test_regions_without_counterparts_are_skipped(tiny_city):
    method = build(tiny_city).eval()
    method.counterparts_poi[:40] = -1
    with torch.no_grad():
        assert float(method.loss(torch.arange(40))["poi"]) == 0.0
        assert torch.allclose(method.loss(torch.arange(49))["poi"], method.loss(torch.arange(40, 49))["poi"], atol=1e-5)


def test_results_do_not_depend_on_the_order_of_a_batch(tiny_city):
    method, regions = build(tiny_city).eval(), torch.arange(49)
    order = torch.randperm(49, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        assert torch.allclose(method(order), method(regions)[order], atol=1e-5)
        assert torch.allclose(method.loss(order)["total"], method.loss(regions)["total"], atol=1e-5)


def test_embeddings_of_both_models_are_concatenated(tiny_city):
    method = build(tiny_city)
    assert method.blocks == [16, 16] and method.dim == 32
    assert build(tiny_city, fusion={"name": "add"}).dim == 16


def test_errors_name_the_missing_modality_or_view(tiny_city):
    cls = registry.get("method", "pg-simclr")
    assert [key for key, _ in cls.check(cls.Params(), {"svi"}, {"mobility"})] == ["tiles", "space", "function"]
    assert cls.check(cls.Params(), {"rsi"}, {"poi", "distance"}) == []
    with pytest.raises(UserError, match=r"method.function: the city has no data for the view 'poi'"):
        build(tiny_city, views=("distance",))
    with pytest.raises(UserError, match=r"method.tiles: the city has no data for the modality 'rsi'"):
        build(tiny_city, modalities=())
