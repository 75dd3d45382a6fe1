"""Sums over neighbours that follow changes of features, and nodes encoded from them, against the whole graph."""

import pytest
import torch
from helpers.graphs import features, random_graph, star

from urbankit.graph.gcn import GCN
from urbankit.graph.neighbour_sums import NeighbourSums
from urbankit.graph.normalise import normalise
from urbankit.graph.torch_engine import propagate
from urbankit.graph.vgae import VGAE

CHANGED = torch.tensor([3, 39, 0, 17])
NODES = torch.tensor([0, 2, 3, 21, 38, 39])


GRAPHS = {"sparse": random_graph(40, 0.1, isolated=2), "dense": random_graph(40, 0.8), "hub": star(40)}


def messages(graph, how, x):
    normalised, self_weight = normalise(graph, how)
    return propagate(normalised, x, self_weight)


@pytest.mark.parametrize("how", ["symmetric", "row", "none"])
@pytest.mark.parametrize("graph", GRAPHS.values(), ids=GRAPHS)
def test_sums_equal_those_of_the_changed_features(graph, how):
    x = features(40, 5)
    sums = NeighbourSums(graph, how, x)
    for seed in (1, 2):
        new = features(4, 5, seed)
        sums.change(CHANGED, new - x[CHANGED])
        x[CHANGED] = new
    torch.testing.assert_close(sums.rows(NODES), messages(graph, how, x)[NODES], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(sums.weight(NODES), messages(graph, how, torch.ones(40, 1))[NODES].squeeze(1))


@pytest.mark.parametrize("graph", GRAPHS.values(), ids=GRAPHS)
def test_gradient_of_the_sums_is_that_of_the_whole_graph(graph):
    x, coefficients = features(40, 5), features(6, 5, 1)
    changed = x[CHANGED].clone().requires_grad_()
    zero = NeighbourSums(graph, "symmetric", x).gradient_of(changed, CHANGED, NODES)
    assert not zero.any()
    (zero * coefficients).sum().backward()
    whole = x.clone().requires_grad_()
    (messages(graph, "symmetric", whole)[NODES] * coefficients).sum().backward()
    torch.testing.assert_close(changed.grad, whole.grad[CHANGED], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("params", [{}, {"root_weight": True, "standardise": True, "decoder": "affine"}])
@pytest.mark.parametrize("graph", GRAPHS.values(), ids=GRAPHS)
def test_vgae_encodes_a_few_nodes_as_in_the_whole_graph(graph, params):
    vgae, x = VGAE(VGAE.Params(latent=6, **params), 5).eval(), features(40, 5)
    sums = vgae.neighbour_sums(graph, x)
    expected, encoded = vgae(graph, x), vgae.encode_nodes(sums, NODES, x[NODES], sums.rows(NODES))
    torch.testing.assert_close(encoded.mu, expected.mu[NODES], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(encoded.log_sigma, expected.log_sigma[NODES], rtol=1e-5, atol=1e-5)


def test_an_encoder_without_learned_weights_needs_no_encoding():
    assert VGAE(VGAE.Params(), 3).needs_encoding and not GCN(GCN.Params(), 3).needs_encoding


@pytest.mark.parametrize("limit", [0, 5000], ids=["bisection", "table"])
def test_edges_among_nodes_in_any_order_are_those_of_all_pairs(monkeypatch, limit):
    monkeypatch.setattr("urbankit.graph.graph.TABLE_LIMIT", limit)
    for graph in GRAPHS.values():
        ids = graph.edge_ids_among(CHANGED)
        weights = torch.where(ids >= 0, graph.weight[ids.long()], 0.0)
        torch.testing.assert_close(weights, graph.dense()[CHANGED][:, CHANGED])
