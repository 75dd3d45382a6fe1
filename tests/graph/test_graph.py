import numpy as np
import pytest
import scipy.sparse
import torch
from helpers.graphs import random_adjacency

from urbankit.graph.graph import Graph


def test_graph_equals_its_matrix():
    adjacency = random_adjacency(30, 0.2)
    graph = Graph.from_scipy(adjacency)
    np.testing.assert_array_equal(graph.dense().numpy(), adjacency.toarray())
    assert (torch.diff(graph.src * graph.n + graph.dst) > 0).all()
    np.testing.assert_array_equal(graph.indptr.numpy(), adjacency.indptr)


def test_duplicates_are_summed_zeros_removed_and_the_matrix_unchanged():
    matrix = scipy.sparse.csr_array(([1.0, 2.0, 0.0], ([0, 0, 1], [1, 1, 0])), shape=(2, 2))
    stored = matrix.nnz
    graph = Graph.from_scipy(matrix)
    assert (graph.src.tolist(), graph.dst.tolist(), graph.weight.tolist()) == ([0], [1], [3.0])
    assert matrix.nnz == stored


def test_a_matrix_that_is_not_square_is_refused():
    with pytest.raises(ValueError, match="square"):
        Graph.from_scipy(scipy.sparse.csr_array((2, 3)))


def test_new_edge_weights_carry_gradients_and_must_have_the_right_shape():
    graph = Graph.from_scipy(random_adjacency(10, 0.3))
    weight = torch.rand(graph.n_edges, requires_grad=True)
    graph.with_weight(weight).dense().sum().backward()
    assert torch.equal(weight.grad, torch.ones(graph.n_edges))
    with pytest.raises(ValueError, match="weights for"):
        graph.with_weight(torch.ones(graph.n_edges + 1))


@pytest.mark.parametrize("table_limit", [0, 5000], ids=["bisection", "table"])
def test_edge_ids_finds_edges_by_their_end_nodes(monkeypatch, table_limit):
    monkeypatch.setattr("urbankit.graph.graph.TABLE_LIMIT", table_limit)
    graph = Graph.from_scipy(random_adjacency(20, 0.3))
    of_pair = {pair: e for e, pair in enumerate(zip(graph.src.tolist(), graph.dst.tolist(), strict=True))}
    i, j = torch.meshgrid(torch.arange(21), torch.arange(21), indexing="ij")  # 20 stands for no node
    looked_up = graph.edge_ids(i, j)
    assert looked_up.tolist() == [[of_pair.get((a, b), -1) for b in range(21)] for a in range(21)]


def test_edge_ids_of_a_graph_without_edges_are_missing():
    graph = Graph.from_scipy(scipy.sparse.csr_array((3, 3)))
    assert graph.edge_ids(torch.tensor([0, 1]), torch.tensor([1, 3])).tolist() == [-1, -1]
    assert graph.indptr.tolist() == [0, 0, 0, 0]
