import networkx
import numpy as np
import pytest
import scipy.sparse
import scipy.stats
import torch
from helpers.graphs import features, random_adjacency, random_graph

from urbankit.graph.full import FullGraph
from urbankit.graph.gcn import GCN
from urbankit.graph.graph import Graph
from urbankit.graph.random_walk import RandomWalk, walk
from urbankit.graph.subgraph import readout


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("density", [0.4, 1.0])
def test_transitions_have_the_probabilities_of_eq_22(density):
    graph = random_graph(12, density, seed=4)
    weight = torch.rand(graph.n_edges, generator=seeded()) + 0.05  # learned weights, not those of the view
    visited = walk(graph, weight, torch.arange(12).repeat(400), 20, seeded(1))
    moves = np.zeros((12, 12))
    np.add.at(moves, (visited[:, :-1].flatten().numpy(), visited[:, 1:].flatten().numpy()), 1)
    expected = graph.with_weight(weight).dense().double().numpy()
    expected /= expected.sum(axis=1, keepdims=True)
    assert (moves[expected == 0] == 0).all()
    for i in range(12):
        allowed = expected[i] > 0
        if allowed.sum() < 2:
            continue
        result = scipy.stats.chisquare(moves[i, allowed], expected[i, allowed] * moves[i].sum())
        assert result.pvalue > 1e-4


def test_walks_never_use_edges_of_weight_zero():
    graph = random_graph(12, 1.0)
    weight = torch.where(graph.dst % 2 == 0, 0.0, 1.0)
    visited = walk(graph, weight, torch.arange(12).repeat(50), 20, seeded())
    assert (visited[:, 1:] % 2 == 1).all()


def test_walks_use_edges_with_small_shares_among_many_edges():
    """Bisection on a running sum over a million edges still tells a node's edges apart."""
    n = 1000
    graph = Graph.from_scipy(scipy.sparse.csr_array(np.ones((n, n), dtype=np.float32)))
    weight = torch.full((n * n,), 1e4)
    weight[-n:] = 1e-3 * torch.arange(n)
    after = walk(graph, weight, torch.full((20000,), n - 1), 1, seeded())[:, 1].double()
    assert after.mean().item() == pytest.approx((2 * n - 1) / 3, rel=0.02)


def test_a_walk_ends_at_a_node_without_neighbours():
    graph = Graph.from_scipy(scipy.sparse.csr_array(([1.0, 1.0], ([0, 1], [1, 2])), shape=(4, 4)))
    visited = walk(graph, graph.weight, torch.arange(4), 5, seeded())
    assert visited.tolist() == [[0, 1, 2, 2, 2, 2], [1, 2, 2, 2, 2, 2], [2] * 6, [3] * 6]
    drawn = RandomWalk(RandomWalk.Params(length=5)).sample(graph, graph.weight, torch.arange(4), seeded())
    assert drawn.used.view(4, 6).sum(1).tolist() == [3, 2, 1, 1]


@pytest.mark.parametrize("table_limit", [0, 5000], ids=["bisection", "table"])
@pytest.mark.parametrize("density", [0.1, 1.0])
def test_subgraphs_hold_the_visited_nodes_and_all_edges_between_them(monkeypatch, table_limit, density):
    monkeypatch.setattr("urbankit.graph.graph.TABLE_LIMIT", table_limit)
    adjacency = random_adjacency(50, density, seed=2, isolated=2)
    graph, roots = Graph.from_scipy(adjacency), torch.tensor([3, 49, 3, 0, 17])
    weight = torch.rand(graph.n_edges)
    drawn = RandomWalk(RandomWalk.Params(length=12)).sample(graph, weight, roots, seeded(5))
    visited = walk(graph, weight, roots, 12, seeded(5))
    learned = networkx.from_numpy_array(graph.with_weight(weight).dense().numpy(), create_using=networkx.DiGraph)
    assert drawn.n == 5 and torch.equal(drawn.node[drawn.root], roots) and drawn.graph.width == 13
    slot = torch.arange(drawn.graph.n) // 13
    for b in range(5):
        nodes = drawn.node[(slot == b) & drawn.used].tolist()
        assert sorted(nodes) == sorted(set(visited[b].tolist()))
        of_slot = slot[drawn.graph.src] == b
        assert (slot[drawn.graph.dst[of_slot]] == b).all()
        edges = {
            (int(drawn.node[i]), int(drawn.node[j])): float(w)
            for i, j, w in zip(
                drawn.graph.src[of_slot], drawn.graph.dst[of_slot], drawn.graph.weight[of_slot], strict=True
            )
        }
        induced = {(i, j): pytest.approx(w) for i, j, w in learned.subgraph(nodes).edges(data="weight")}
        assert edges == induced
    keys = drawn.graph.src * drawn.graph.n + drawn.graph.dst
    assert (torch.diff(keys) > 0).all()


def test_a_seed_gives_the_same_walks_and_no_seed_new_ones():
    graph, roots, sampler = random_graph(40, 0.3), torch.arange(40), RandomWalk(RandomWalk.Params())
    first, again = (sampler.sample(graph, graph.weight, roots, seeded(7)) for _ in range(2))
    assert torch.equal(first.node, again.node) and torch.equal(first.graph.src, again.graph.src)
    torch.manual_seed(0)
    one, two = (sampler.sample(graph, graph.weight, roots) for _ in range(2))
    assert not torch.equal(one.node, two.node)
    torch.manual_seed(0)
    assert torch.equal(sampler.sample(graph, graph.weight, roots).node, one.node)


@pytest.mark.parametrize("how", ["mean", "root", "mean+root"])
@pytest.mark.parametrize("hidden", [[], [9], [9, 7]])
@pytest.mark.parametrize("normalise", ["symmetric", "row", "none"])
def test_each_root_is_encoded_as_if_it_were_alone(how, hidden, normalise):
    """Eq. 23 and 24, root by root, with dense matrices of networkx' induced subgraphs."""
    graph, x, roots = random_graph(40, 0.15, isolated=3), features(40, 5), torch.arange(40)
    gcn = GCN(GCN.Params(hidden=hidden, out=4, normalise=normalise), 5).eval()
    for layer in gcn.layers:
        torch.nn.init.normal_(layer.bias)
    drawn = RandomWalk(RandomWalk.Params(length=8)).sample(graph, graph.weight, roots, seeded())
    embedded = gcn.embed(drawn, x, how)
    by_nodes = readout(gcn.forward_nodes(drawn.graph, x, drawn.node), drawn, how)
    torch.testing.assert_close(embedded, by_nodes, rtol=1e-4, atol=1e-4)
    for b in range(40):
        nodes = drawn.node.view(40, 9)[b][drawn.used.view(40, 9)[b]]
        alone = Graph.from_scipy(scipy.sparse.csr_array(graph.dense()[nodes][:, nodes].numpy()))
        h = gcn(alone, x[nodes]).z
        expected = {"mean": h.mean(0), "root": h[0], "mean+root": torch.cat([h.mean(0), h[0]])}[how]
        torch.testing.assert_close(embedded[b], expected, rtol=1e-3, atol=1e-4)


def test_readout_before_the_last_layer_has_the_same_gradients():
    graph, roots = random_graph(30, 0.2), torch.arange(30)
    gcn = GCN(GCN.Params(hidden=[9], out=4), 5)
    weight = graph.weight.clone().requires_grad_()
    x = features(30, 5).requires_grad_()
    results = []
    for early in (True, False):
        drawn = RandomWalk(RandomWalk.Params()).sample(graph, weight, roots, seeded())
        out = gcn.embed(drawn, x) if early else readout(gcn.forward_nodes(drawn.graph, x, drawn.node), drawn)
        results.append(torch.autograd.grad(out.square().sum(), [weight, x, *gcn.parameters()]))
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


def test_permuting_the_regions_permutes_the_subgraphs():
    """On a cycle, where a walk has one way to go and the draws do not matter."""
    n, order = 20, np.random.default_rng(0).permutation(20)
    cycle = scipy.sparse.csr_array((np.ones(n), (np.arange(n), (np.arange(n) + 1) % n)), shape=(n, n))
    gcn, x, sampler = GCN(GCN.Params(), 5).eval(), features(n, 5), RandomWalk(RandomWalk.Params(length=6))

    def embed(adjacency, x):
        graph = Graph.from_scipy(adjacency)
        return gcn.embed(sampler.sample(graph, graph.weight, torch.arange(n)), x)

    torch.testing.assert_close(embed(cycle[order][:, order], x[order]), embed(cycle, x)[order], rtol=1e-4, atol=1e-5)


def test_full_graph_equals_the_view_and_a_root_its_row():
    graph, x, roots = random_graph(20, 0.3), features(20, 5), torch.tensor([4, 4, 19])
    gcn, weight = GCN(GCN.Params(out=4), 5).eval(), torch.rand(graph.n_edges)
    drawn = FullGraph(FullGraph.Params()).sample(graph, weight, roots)
    expected = gcn(graph.with_weight(weight), x).z[roots]
    for how in ("mean", "root"):
        torch.testing.assert_close(gcn.embed(drawn, x, how), expected)
        torch.testing.assert_close(readout(gcn.forward_nodes(drawn.graph, x, drawn.node), drawn, how), expected)
    torch.testing.assert_close(gcn.embed(drawn, x, "mean+root"), torch.cat([expected, expected], dim=1))


def test_subgraphs_of_one_region_and_of_graphs_without_edges_are_sampled():
    for n in (1, 5):
        graph = Graph.from_scipy(scipy.sparse.csr_array((n, n), dtype=np.float32))
        drawn = RandomWalk(RandomWalk.Params()).sample(graph, graph.weight, torch.arange(n))
        gcn, x = GCN(GCN.Params(), 3).eval(), features(n, 3)
        assert drawn.used.sum() == n and drawn.graph.n_edges == 0
        torch.testing.assert_close(gcn.embed(drawn, x), gcn(graph, x).z, rtol=1e-4, atol=1e-5)
