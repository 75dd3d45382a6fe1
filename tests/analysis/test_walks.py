from types import SimpleNamespace

import scipy.sparse
import torch

from urbankit.analysis.walks import sample_walks
from urbankit.graph.full import FullGraph
from urbankit.graph.graph import Graph
from urbankit.graph.random_walk import RandomWalk

GRAPH = Graph.from_scipy(scipy.sparse.csr_array([[0, 1, 0, 0], [1, 0, 1, 0], [0, 1, 0, 0], [0, 0, 0, 0]]))
IDS = ["a", "b", "c", "alone"]


def method(sampler: object) -> SimpleNamespace:
    draw = lambda roots: {"line": sampler.sample(GRAPH, GRAPH.weight, roots)}  # noqa: E731
    return SimpleNamespace(parameters=lambda: iter(()), sample_subgraphs=draw)


def test_visits_sum_to_the_steps_of_a_walk_and_edges_belong_to_the_view() -> None:
    walk = RandomWalk(RandomWalk.Params(length=6))
    before = torch.random.get_rng_state()
    table = sample_walks(method(walk), [0, 3], IDS, seed=0)
    assert torch.equal(before, torch.random.get_rng_state())
    nodes, edges = table[table["target"].isna()], table[table["target"].notna()]
    assert nodes.groupby("root")["visits"].sum().to_dict() == {"a": 7, "alone": 7}
    assert set(zip(edges["region_id"], edges["target"], strict=True)) <= {
        ("a", "b"),
        ("b", "a"),
        ("b", "c"),
        ("c", "b"),
    }
    assert (edges["root"] == "a").all() and (edges["weight"] == 1).all() and set(table["view"]) == {"line"}
    assert sample_walks(method(walk), [0, 3], IDS, seed=0).equals(table)


def test_table_is_empty_for_full_graphs_and_for_no_regions() -> None:
    assert sample_walks(method(FullGraph(FullGraph.Params())), [0], IDS, seed=0).empty
    assert sample_walks(method(RandomWalk(RandomWalk.Params())), [], IDS, seed=0).empty
