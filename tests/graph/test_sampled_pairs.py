"""The sampled reconstruction: its expectation is the exact one, also at hubs, isolated nodes and in several cities."""

import pytest
import torch
from helpers.graphs import features, random_graph, star

from urbankit.graph import sampled_pairs
from urbankit.graph.graph import Graph
from urbankit.graph.reconstruction import squared_error
from urbankit.graph.sampled_pairs import sample_pairs
from urbankit.graph.vgae import VGAE

EVERYONE = torch.arange(60)
ROWS = torch.tensor([0, 58, 7, 59, 31])


def two_cities() -> Graph:
    graph = random_graph(60, 0.2)
    within = (graph.src < 20) == (graph.dst < 20)
    return Graph(60, graph.src[within], graph.dst[within], graph.weight[within], cities=[20, 40])


GRAPHS = {
    "sparse": random_graph(60, 0.05, isolated=2),
    "dense": random_graph(60, 0.7),
    "hub": star(60),
    "cities": two_cities(),
    "without edges": random_graph(60, 0.0),
}


@pytest.mark.parametrize("graph", GRAPHS.values(), ids=GRAPHS)
def test_expectation_and_gradient_are_those_of_all_pairs(graph, monkeypatch):
    monkeypatch.setattr(sampled_pairs, "COLUMNS", 12)
    monkeypatch.setattr(sampled_pairs, "MOST_EDGES", 3)
    torch.manual_seed(0)
    z = features(60, 4).mul_(0.7).requires_grad_()
    exact = squared_error(graph, z, z, ROWS)
    estimates = torch.stack([sample_pairs(graph, ROWS).squared_error(z, z, EVERYONE) for _ in range(3000)])
    error = estimates.std() / len(estimates) ** 0.5
    assert abs(estimates.mean() - exact) < 4 * error
    (expected,) = torch.autograd.grad(exact, z)
    (gradient,) = torch.autograd.grad(estimates.mean(), z)
    assert (gradient - expected).norm() < 0.1 * expected.norm()


def test_pairs_are_few_at_a_hub_and_stand_for_all():
    graph = star(2000)
    pairs = sample_pairs(graph, torch.tensor([0, 1999]))
    assert len(pairs.edge_end) == sampled_pairs.MOST_EDGES and pairs.edge_count.sum() == 1997
    assert len(pairs.nodes) <= 2 + sampled_pairs.MOST_EDGES + sampled_pairs.COLUMNS
    assert pairs.n_pairs == 4000 and pairs.pair_count[1].sum() == pytest.approx(2000)


def test_a_sample_of_everything_is_exact():
    graph, z = random_graph(30, 0.1), features(30, 4)
    rows = torch.arange(0, 30, 3)
    draws = [sample_pairs(graph, rows) for _ in range(20)]
    complete = [pairs for pairs in draws if len(pairs.columns) == 30]
    assert complete, "256 draws of 30 nodes hit all of them nearly always"
    torch.testing.assert_close(complete[0].squared_error(z, z, torch.arange(30)), squared_error(graph, z, z, rows))


def test_vgae_has_the_same_losses_by_name_and_the_same_divergence():
    graph, x = random_graph(60, 0.1), features(60, 5)
    vgae = VGAE(VGAE.Params(latent=6, decoder="affine"), 5).eval()
    encoded = vgae(graph, x)
    exact = vgae.losses(graph, encoded, ROWS)
    sampled = vgae.sampled_losses(graph, encoded, EVERYONE, sample_pairs(graph, ROWS))
    assert sampled.keys() == exact.keys()
    torch.testing.assert_close(sampled["kl"], exact["kl"])
    assert sampled["reconstruction"].item() == pytest.approx(exact["reconstruction"].item(), rel=0.2)
