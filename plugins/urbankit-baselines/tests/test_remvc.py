"""ReMVC: losses, positives and negatives, flows with and without hours, and requirements."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from urbankit_baselines.remvc import intra_view, negatives
from urbankit_baselines.remvc_features import changed_counts, distribution, flow_profiles, noisy

from urbankit import registry
from urbankit.methods.base import MethodInputs
from urbankit.recipe.recipe import Recipe
from urbankit.registry.component import Use
from urbankit.utils.errors import UserError


class CityWithout:
    """A city whose methods `names` return None."""

    def __init__(self, city, *names):
        self._city, self._names = city, names

    def __getattr__(self, name):
        return (lambda: None) if name in self._names else getattr(self._city, name)


def build(city, **params):
    torch.manual_seed(0)
    return registry.create("method", Use(name="remvc", **{"dim": 8} | params), MethodInputs(city))


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_intra_view_loss_is_a_softmax_over_positives_and_negatives():
    z, positives = normal(5, 3), normal(5, 2, 3, seed=1)
    rows = torch.tensor([[1, 2], [0, 4], [3, 1], [2, 0], [1, 3]])
    total = 0.0
    for i in range(5):
        scores = [math.exp(float(z[i] @ positives[i, m]) / 0.5) for m in range(2)]
        negative = sum(math.exp(float(z[i] @ z[j]) / 0.5) for j in rows[i])
        total -= sum(math.log(s / (sum(scores) + negative)) for s in scores) / 2
    assert float(intra_view(z, positives, rows, 0.5)) == pytest.approx(total / 5, rel=1e-5)


@pytest.mark.parametrize("scorer", [0, 4])
def test_inter_view_loss_is_a_softmax_over_pairs(tiny_city, scorer):
    method = build(tiny_city, scorer=scorer)
    poi, flow, other_poi, other_flow = (
        normal(3, 8),
        normal(3, 8, seed=1),
        normal(3, 5, 8, seed=2),
        normal(3, 5, 8, seed=3),
    )
    total = 0.0
    with torch.no_grad():
        for i in range(3):
            pairs = [(poi[i], flow[i])]
            pairs += [(other, flow[i]) for other in other_poi[i]] + [(poi[i], other) for other in other_flow[i]]
            scores = [math.exp(float(method.pair_scorer(torch.cat(pair)))) for pair in pairs]
            total -= math.log(scores[0] / sum(scores))
        loss = method._inter_view(poi, flow, other_poi, other_flow)
    assert float(loss) == pytest.approx(total / 3, rel=1e-5)


def test_total_loss_is_the_weighted_sum_with_gradients_for_all_weights(tiny_city):
    method = build(tiny_city, poi_weight=0.2, pair_weight=0.7)
    losses = method.loss(torch.arange(49))
    expected = losses["flow"] + 0.2 * losses["poi"] + 0.7 * losses["poi–flow"]
    assert torch.allclose(losses["total"], expected)
    losses["total"].backward()
    parameters = [p for ps in method.parts().values() for p in ps]
    assert {id(p) for p in parameters} == {id(p) for p in method.parameters()}
    assert all(p.grad is not None for p in parameters)


def test_negatives_are_other_regions_and_mostly_dissimilar():
    features = torch.tensor([[0.0], [0.1], [5.0], [9.0]])
    torch.manual_seed(0)
    rows = torch.stack([negatives(features, 2) for _ in range(300)])
    assert all(i not in rows[:, i] for i in range(4))
    assert (rows[..., 0] != rows[..., 1]).all()
    assert (rows[:, 0] == 3).sum() > (rows[:, 0] == 1).sum() * 5
    assert negatives(features[:1], 2).shape == (1, 0)
    assert negatives(torch.zeros(3, 2), 9).shape == (3, 2)


def test_batch_size_of_the_recipe_exceeds_the_number_of_negatives(tiny_city):
    count = build(tiny_city).params.flow_negatives
    assert Recipe.load("baselines/remvc").pretrain.batch_size > count == 150
    assert negatives(normal(180, 3), count).shape == (180, 150)


def test_a_tenth_of_the_points_changes():
    torch.manual_seed(0)
    counts = torch.tensor([[1000.0, 3000.0, 0.0, 6000.0], [1.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]])
    less, more, replaced = changed_counts(counts, 0.1)
    assert less[0].sum() == pytest.approx(9000, rel=0.03) and (less <= counts).all()
    assert more[0].sum() == pytest.approx(11000, rel=0.03) and (more >= counts).all()
    assert (replaced.sum(dim=1) == counts.sum(dim=1)).all() and (replaced >= 0).all()
    assert float(replaced[0, 2]) == pytest.approx(250, rel=0.3)
    many = torch.stack([changed_counts(counts, 0.9)[0][1] for _ in range(20)])
    assert (many.sum(dim=1) == 1).all()  # the only point of a region is never deleted


def test_noise_accumulates_within_bounds():
    torch.manual_seed(0)
    profiles = torch.full((4, 1000), 0.5)
    variants = noisy(profiles, 0.01, 4)
    std = [float((variant - profiles).std()) for variant in variants]
    assert std == pytest.approx([0.01, 0.01 * 2**0.5, 0.01 * 3**0.5, 0.02], rel=0.05)
    assert all((v >= 0).all() and (v <= 1).all() for v in noisy(torch.rand(4, 50), 0.5, 3))


def test_profiles_are_distributions_over_regions_and_hours(tiny_city):
    outgoing, incoming, present = flow_profiles(tiny_city, hours=True)
    flows, times, regions = tiny_city.flows().toarray(), tiny_city.flow_times(), torch.arange(49)
    assert outgoing.width == incoming.width == 49 + 48
    for profiles, matrix, end in ((outgoing, flows, "origin"), (incoming, flows.T, "destination")):
        rows = profiles(regions).numpy()
        expected = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1e-12)
        assert np.allclose(rows[:, :49], expected, atol=1e-6)
        busiest = int(np.argmax(matrix.sum(axis=1)))
        trips = times[times[end] == busiest]
        weekend = trips[trips["weekday"] >= 5].groupby("hour")["weight"].sum()
        for hour in range(24):
            assert rows[busiest, 49 + 24 + hour] == pytest.approx(
                weekend.get(hour, 0.0) / trips["weight"].sum(), abs=1e-6
            )
    assert (present == ((flows.sum(0) + flows.sum(1)) > 0)).all()


def test_sparse_and_dense_profiles_give_the_same_embeddings_and_gradients(tiny_city):
    method, regions = build(tiny_city), torch.tensor([7, 3, 48])
    dense, sparse = method.outgoing(regions), method.outgoing.sparse(regions)
    assert sparse.is_sparse and torch.equal(sparse.to_dense(), dense)
    embeddings = method(regions)
    expected = method._flow(dense, method.incoming(regions)) * method.has_flows[regions].unsqueeze(1)
    assert torch.allclose(embeddings[:, 8:], expected, atol=1e-6)
    weights = [method.leaving_encoder.weight, method.reaching_encoder.weight]
    gradients = torch.autograd.grad(embeddings[:, 8:].square().sum(), weights)
    for gradient, same in zip(gradients, torch.autograd.grad(expected.square().sum(), weights), strict=True):
        assert torch.allclose(gradient, same, atol=1e-6)


def test_flows_without_times_have_no_hours(tiny_city):
    assert flow_profiles(CityWithout(tiny_city, "flow_times"), hours=True)[0].width == 49
    assert flow_profiles(tiny_city, hours=False)[0].width == 49
    assert torch.isfinite(build(CityWithout(tiny_city, "flow_times")).loss(torch.arange(49))["total"])


def test_regions_without_a_source_have_zeros_and_finite_losses(tiny_city):
    method = build(tiny_city)
    method.has_poi[:20], method.has_flows[10:30] = False, False
    with torch.no_grad():
        embeddings = method(torch.arange(49))
        losses = method.loss(torch.arange(49))
    assert (embeddings[:20, :8] == 0).all() and (embeddings[10:30, 8:] == 0).all()
    assert (embeddings[30:, :8] != 0).any() and (embeddings[30:, 8:] != 0).any()
    assert all(torch.isfinite(value) for value in losses.values())
    with torch.no_grad():
        empty = method.loss(torch.arange(12, 18))
    assert all(float(value) == 0 for value in empty.values())


def test_losses_of_a_single_region_are_zero(tiny_city):
    assert all(float(value.detach()) == 0 for value in build(tiny_city).loss(torch.tensor([3])).values())


def test_embeddings_do_not_depend_on_the_order_of_a_batch(tiny_city):
    method = build(tiny_city)
    order = torch.randperm(49, generator=torch.Generator().manual_seed(1))
    assert torch.allclose(method(order), method(torch.arange(49))[order], atol=1e-6)


def test_distribution_of_zeros_is_zero():
    assert distribution(torch.zeros(2, 3)).sum() == 0


def test_error_lists_all_missing_sources(tiny_city):
    with pytest.raises(UserError, match=r"(?s)needs points of interest.*needs flows"):
        build(CityWithout(tiny_city, "poi_counts", "flows"))
