"""ReMVC: its losses as loops, its positives and negatives, its flows with and without hours, and what it needs."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from urbankit_baselines.remvc import intra_view, negatives
from urbankit_baselines.remvc_features import changed, distribution, flow_profiles, noisy

from urbankit import registry
from urbankit.methods.base import MethodInputs
from urbankit.recipe.recipe import Recipe
from urbankit.registry.component import Use
from urbankit.utils.errors import UserError


class Lacking:
    """A city without what is named."""

    def __init__(self, city, *names):
        self._city, self._names = city, names

    def __getattr__(self, name):
        return (lambda: None) if name in self._names else getattr(self._city, name)


def built(city, **params):
    torch.manual_seed(0)
    return registry.create("method", Use(name="remvc", **{"dim": 8} | params), MethodInputs(city))


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_the_intra_view_loss_is_a_softmax_over_positives_and_negatives():
    z, positives = drawn(5, 3), drawn(5, 2, 3, seed=1)
    others = torch.tensor([[1, 2], [0, 4], [3, 1], [2, 0], [1, 3]])
    total = 0.0
    for i in range(5):
        own = [math.exp(float(z[i] @ positives[i, m]) / 0.5) for m in range(2)]
        rest = sum(math.exp(float(z[i] @ z[j]) / 0.5) for j in others[i])
        total -= sum(math.log(s / (sum(own) + rest)) for s in own) / 2
    assert float(intra_view(z, positives, others, 0.5)) == pytest.approx(total / 5, rel=1e-5)


@pytest.mark.parametrize("scorer", [0, 4])
def test_the_inter_view_loss_finds_the_own_pair(tiny_city, scorer):
    method = built(tiny_city, scorer=scorer)
    poi, flow, other_poi, other_flow = drawn(3, 8), drawn(3, 8, seed=1), drawn(3, 5, 8, seed=2), drawn(3, 5, 8, seed=3)
    total = 0.0
    with torch.no_grad():
        for i in range(3):
            pairs = [(poi[i], flow[i])]
            pairs += [(other, flow[i]) for other in other_poi[i]] + [(poi[i], other) for other in other_flow[i]]
            scores = [math.exp(float(method.pair_scorer(torch.cat(pair)))) for pair in pairs]
            total -= math.log(scores[0] / sum(scores))
        loss = method._inter_view(poi, flow, other_poi, other_flow)
    assert float(loss) == pytest.approx(total / 3, rel=1e-5)


def test_the_total_is_the_weighted_sum_and_reaches_every_part(tiny_city):
    method = built(tiny_city, poi_weight=0.2, pair_weight=0.7)
    losses = method.loss(torch.arange(49))
    expected = losses["flow"] + 0.2 * losses["poi"] + 0.7 * losses["poi–flow"]
    assert torch.allclose(losses["total"], expected)
    losses["total"].backward()
    parameters = [p for ps in method.parts().values() for p in ps]
    assert {id(p) for p in parameters} == {id(p) for p in method.parameters()}
    assert all(p.grad is not None for p in parameters)


def test_negatives_are_others_and_rather_those_unlike():
    features = torch.tensor([[0.0], [0.1], [5.0], [9.0]])
    torch.manual_seed(0)
    found = torch.stack([negatives(features, 2) for _ in range(300)])
    assert all(i not in found[:, i] for i in range(4))
    assert (found[..., 0] != found[..., 1]).all()
    assert (found[:, 0] == 3).sum() > (found[:, 0] == 1).sum() * 5
    assert negatives(features[:1], 2).shape == (1, 0)
    assert negatives(torch.zeros(3, 2), 9).shape == (3, 2)


def test_a_mini_batch_of_the_recipe_has_room_for_the_authors_negatives(tiny_city):
    wanted = built(tiny_city).params.flow_negatives
    assert Recipe.load("baselines/remvc").pretrain.batch_size > wanted == 150
    assert negatives(drawn(180, 3), wanted).shape == (180, 150)


def test_changed_points_are_a_tenth():
    torch.manual_seed(0)
    counts = torch.tensor([[1000.0, 3000.0, 0.0, 6000.0], [1.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]])
    less, more, replaced = changed(counts, 0.1)
    assert less[0].sum() == pytest.approx(9000, rel=0.03) and (less <= counts).all()
    assert more[0].sum() == pytest.approx(11000, rel=0.03) and (more >= counts).all()
    assert (replaced.sum(dim=1) == counts.sum(dim=1)).all() and (replaced >= 0).all()
    assert float(replaced[0, 2]) == pytest.approx(250, rel=0.3)
    many = torch.stack([changed(counts, 0.9)[0][1] for _ in range(20)])
    assert (many.sum(dim=1) == 1).all()  # a last point stays


def test_noise_adds_up_and_stays_within_bounds():
    torch.manual_seed(0)
    profiles = torch.full((4, 1000), 0.5)
    variants = noisy(profiles, 0.01, 4)
    spread = [float((variant - profiles).std()) for variant in variants]
    assert spread == pytest.approx([0.01, 0.01 * 2**0.5, 0.01 * 3**0.5, 0.02], rel=0.05)
    assert all((v >= 0).all() and (v <= 1).all() for v in noisy(torch.rand(4, 50), 0.5, 3))


def test_profiles_are_distributions_over_places_and_hours(tiny_city):
    leaving, reaching, present = flow_profiles(tiny_city, hours=True)
    flows, times, regions = tiny_city.flows().toarray(), tiny_city.flow_times(), torch.arange(49)
    assert leaving.width == reaching.width == 49 + 48
    for profiles, matrix, end in ((leaving, flows, "origin"), (reaching, flows.T, "destination")):
        rows = profiles(regions).numpy()
        expected = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1e-12)
        assert np.allclose(rows[:, :49], expected, atol=1e-6)
        busiest = int(np.argmax(matrix.sum(axis=1)))
        own = times[times[end] == busiest]
        weekend = own[own["weekday"] >= 5].groupby("hour")["weight"].sum()
        for hour in range(24):
            assert rows[busiest, 49 + 24 + hour] == pytest.approx(
                weekend.get(hour, 0.0) / own["weight"].sum(), abs=1e-6
            )
    assert (present == ((flows.sum(0) + flows.sum(1)) > 0)).all()


def test_sparse_profiles_are_the_dense_ones_and_embeddings_of_them_have_gradients(tiny_city):
    method, regions = built(tiny_city), torch.tensor([7, 3, 48])
    dense, sparse = method.leaving(regions), method.leaving.sparse(regions)
    assert sparse.is_sparse and torch.equal(sparse.to_dense(), dense)
    embeddings = method(regions)
    expected = method._flow(dense, method.reaching(regions)) * method.has_flows[regions].unsqueeze(1)
    assert torch.allclose(embeddings[:, 8:], expected, atol=1e-6)
    weights = [method.leaving_encoder.weight, method.reaching_encoder.weight]
    found = torch.autograd.grad(embeddings[:, 8:].square().sum(), weights)
    for gradient, same in zip(found, torch.autograd.grad(expected.square().sum(), weights), strict=True):
        assert torch.allclose(gradient, same, atol=1e-6)


def test_flows_without_times_have_no_hours(tiny_city):
    assert flow_profiles(Lacking(tiny_city, "flow_times"), hours=True)[0].width == 49
    assert flow_profiles(tiny_city, hours=False)[0].width == 49
    assert torch.isfinite(built(Lacking(tiny_city, "flow_times")).loss(torch.arange(49))["total"])


def test_regions_without_a_source_are_zeros_there_and_harm_nobody(tiny_city):
    method = built(tiny_city)
    method.has_poi[:20], method.has_flows[10:30] = False, False
    with torch.no_grad():
        embeddings = method(torch.arange(49))
        losses = method.loss(torch.arange(49))
    assert (embeddings[:20, :8] == 0).all() and (embeddings[10:30, 8:] == 0).all()
    assert (embeddings[30:, :8] != 0).any() and (embeddings[30:, 8:] != 0).any()
    assert all(torch.isfinite(value) for value in losses.values())
    with torch.no_grad():
        nobody = method.loss(torch.arange(12, 18))
    assert all(float(value) == 0 for value in nobody.values())


def test_one_region_alone_has_finite_losses(tiny_city):
    assert all(float(value.detach()) == 0 for value in built(tiny_city).loss(torch.tensor([3])).values())


def test_a_batch_in_another_order_gives_the_same_rows(tiny_city):
    method = built(tiny_city)
    order = torch.randperm(49, generator=torch.Generator().manual_seed(1))
    assert torch.allclose(method(order), method(torch.arange(49))[order], atol=1e-6)


def test_distribution_of_nothing_is_nothing():
    assert distribution(torch.zeros(2, 3)).sum() == 0


def test_a_city_without_its_sources_is_told_both(tiny_city):
    with pytest.raises(UserError, match=r"(?s)no points of interest.*no flows"):
        built(Lacking(tiny_city, "poi_counts", "flows"))
