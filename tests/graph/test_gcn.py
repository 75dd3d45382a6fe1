import networkx
import numpy as np
import pytest
import torch
from helpers.graphs import features, random_adjacency, random_graph
from torch.nn import functional as F

from urbankit.graph.base import GraphConvolution, GraphEncoder
from urbankit.graph.gcn import GCN
from urbankit.graph.graph import Graph
from urbankit.graph.normalise import normalise
from urbankit.graph.random_walk import RandomWalk


def normalised(adjacency: np.ndarray, how: str) -> np.ndarray:
    with_self = adjacency + np.eye(len(adjacency))
    if how == "none":
        return with_self
    degree = with_self.sum(axis=1)
    if how == "row":
        return with_self / degree[:, None]
    return np.diag(degree**-0.5) @ with_self @ np.diag(degree**-0.5)


@pytest.mark.parametrize("how", ["symmetric", "row", "none"])
def test_normalisation_equals_that_of_the_matrix_with_self_loops(how):
    adjacency = random_adjacency(25, 0.3, isolated=2)
    graph = Graph.from_scipy(adjacency)
    scaled, self_weight = normalise(graph, how)
    mine = scaled.dense() + torch.diag(self_weight)
    np.testing.assert_allclose(mine, normalised(adjacency.toarray(), how), rtol=1e-5, atol=1e-6)


def test_symmetric_normalisation_equals_one_minus_the_networkx_laplacian():
    adjacency = random_adjacency(20, 0.3)
    adjacency = ((adjacency + adjacency.T) / 2).tocsr()
    scaled, self_weight = normalise(Graph.from_scipy(adjacency))
    mine = scaled.dense() + torch.diag(self_weight)
    laplacian = networkx.normalized_laplacian_matrix(networkx.from_numpy_array(adjacency.toarray() + np.eye(20)))
    np.testing.assert_allclose(mine, np.eye(20) - laplacian.toarray(), atol=1e-5)


def test_normalised_weights_follow_the_weights_of_each_graph():
    graph = random_graph(10, 0.5)
    first, _ = normalise(graph, "row")
    doubled, _ = normalise(graph.with_weight(graph.weight * 2), "row")
    assert not torch.allclose(first.weight, doubled.weight)
    weight = graph.weight.clone().requires_grad_()
    normalise(graph.with_weight(weight))[0].weight.sum().backward()
    assert weight.grad.abs().sum() > 0


@pytest.mark.parametrize("how", ["symmetric", "row", "none"])
@pytest.mark.parametrize("density", [0.03, 0.5])
def test_layers_match_the_equation(how, density):
    adjacency = random_adjacency(50, density, isolated=1)
    gcn = GCN(GCN.Params(hidden=[9, 6], out=4, normalise=how), 5).eval()
    x = features(50, 5)
    for layer in gcn.layers:
        torch.nn.init.normal_(layer.bias)
    operator = torch.tensor(normalised(adjacency.toarray(), how), dtype=torch.float32)
    expected = x
    for i, layer in enumerate(gcn.layers):
        expected = operator @ expected @ layer.linear.weight.T + layer.bias
        expected = F.leaky_relu(expected) if i < 2 else expected
    encoded = gcn(Graph.from_scipy(adjacency), x)
    torch.testing.assert_close(encoded.z, expected, rtol=1e-4, atol=1e-4)
    assert gcn.out_dim == 4 and encoded.mu is None


def test_nodes_get_their_features_by_index():
    gcn, x, node = GCN(GCN.Params(hidden=[9], out=4), 5).eval(), features(30, 5), torch.randint(30, (80,))
    graph = random_graph(80, 0.05)
    torch.testing.assert_close(gcn.forward_nodes(graph, x, node), gcn(graph, x[node]).z)


def test_gcn_accepts_one_layer_one_region_and_no_edges():
    gcn = GCN(GCN.Params(hidden=[], out=3), 2).eval()
    graph, x = random_graph(1, 0.0), torch.ones(1, 2)
    assert len(gcn.layers) == 1
    torch.testing.assert_close(gcn(graph, x).z, x @ gcn.layers[0].linear.weight.T)


def test_gcn_uses_the_weights_of_the_view():
    gcn, graph = GCN(GCN.Params(), 4), random_graph(12, 0.3)
    encoded = gcn(graph, features(12, 4))
    assert gcn.losses(graph, encoded, torch.arange(12)) == {}
    assert torch.equal(gcn.edge_weight(graph, encoded, graph.src, graph.dst), graph.weight)
    every = torch.cartesian_prod(torch.arange(12), torch.arange(12))
    assert torch.equal(gcn.edge_weight(graph, encoded, every[:, 0], every[:, 1]).view(12, 12), graph.dense())


def test_dropout_acts_in_training_only():
    gcn, graph, x = GCN(GCN.Params(dropout=0.5), 4), random_graph(12, 0.3), features(12, 4)
    assert not torch.equal(gcn(graph, x).z, gcn(graph, x).z)
    gcn.eval()
    assert torch.equal(gcn(graph, x).z, gcn(graph, x).z)


def test_a_convolution_with_a_root_weight_adds_a_product_of_the_nodes_own_features():
    graph, x = random_graph(15, 0.4), features(15, 6)
    convolution = GraphConvolution(6, 4, "row", "torch", root_weight=True)
    w, v = convolution.linear.weight.split(4)
    scaled, self_weight = normalise(graph, "row")
    expected = (scaled.dense() + torch.diag(self_weight)) @ x @ w.T + x @ v.T
    torch.testing.assert_close(convolution(graph, x), expected)


@pytest.mark.parametrize("root_weight", [False, True])
@pytest.mark.parametrize("how", ["mean", "root", "mean+root"])
def test_the_readout_within_the_last_layer_is_the_readout_after_it(how, root_weight):
    graph, x = random_graph(25, 0.3), features(25, 6)
    gcn = GCN(GCN.Params(hidden=[8], out=4, root_weight=root_weight), 6).eval()
    walks = RandomWalk(RandomWalk.Params(length=5)).sample(
        graph, graph.weight, torch.arange(25), torch.Generator().manual_seed(0)
    )
    torch.testing.assert_close(gcn.embed(walks, x, how), GraphEncoder.embed(gcn, walks, x, how), rtol=1e-4, atol=1e-5)
