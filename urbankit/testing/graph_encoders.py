"""The conformance checks of a graph encoder."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import scipy.sparse
import torch

from urbankit.graph.base import Encoded, GraphEncoder
from urbankit.graph.graph import Graph
from urbankit.graph.random_walk import RandomWalk
from urbankit.graph.subgraph import Readout
from urbankit.testing.candidate import Candidate, Check
from urbankit.testing.modules import determinism_faults, gradient_faults, same, shape_fault, state_faults

N, WIDTH = 12, 6


def encodes(candidate: Candidate) -> Iterator[str]:
    """It computes an embedding of every node, also of a node without edges."""
    encoder, graph, x = _encoder(candidate).eval(), random_graph(), _features()
    encoded = encoder(graph, x)
    if not isinstance(encoded, Encoded):
        yield f"forward() gives {type(encoded).__name__}; expected urbankit.graph.base.Encoded(z)"
        return
    yield from shape_fault("forward().z", encoded.z, N, encoder.out_dim)
    nodes = torch.tensor([0, 5, 5, 2, *range(N - 4)])
    yield from shape_fault("forward_nodes()", encoder.forward_nodes(graph, x, nodes), N, encoder.out_dim)


def embeds_subgraphs(candidate: Candidate) -> Iterator[str]:
    """It computes one vector of every subgraph (eq. 23, 24)."""
    encoder, graph = _encoder(candidate).eval(), random_graph()
    walks = RandomWalk(RandomWalk.Params(length=4))
    drawn = walks.sample(graph, graph.weight, torch.arange(N), torch.Generator().manual_seed(0))
    blocks: dict[Readout, int] = {"mean": 1, "root": 1, "mean+root": 2}
    for how, times in blocks.items():
        yield from shape_fault(f"embed(…, '{how}')", encoder.embed(drawn, _features(), how), N, times * encoder.out_dim)


def weighs_pairs(candidate: Candidate) -> Iterator[str]:
    """It computes a weight of at least 0 for pairs of nodes, and finite losses."""
    encoder, graph = _encoder(candidate).eval(), random_graph()
    encoded = encoder(graph, _features())
    weight = encoder.edge_weight(graph, encoded, graph.src, graph.dst)
    yield from shape_fault("edge_weight()", weight, graph.n_edges)
    if (weight < 0).any():
        yield "edge_weight() gives negative weights, with which walks cannot be drawn; use softplus or relu"
    for name, value in encoder.losses(graph, encoded, torch.arange(N)).items():
        yield from shape_fault(f"losses()['{name}']", value)


def learns(candidate: Candidate) -> Iterator[str]:
    """Gradients reach every trainable parameter."""
    encoder, graph = _encoder(candidate).train(), random_graph()
    encoded = encoder(graph, _features(), torch.Generator().manual_seed(0))
    losses = encoder.losses(graph, encoded, torch.arange(N))
    yield from gradient_faults(encoder, [encoded.z, *losses.values()])


def is_deterministic_in_evaluation(candidate: Candidate) -> Iterator[str]:
    """It is deterministic in evaluation."""
    encoder, graph, x = _encoder(candidate), random_graph(), _features()
    torch.manual_seed(1)
    one = encoder.eval()(graph, x).z
    torch.manual_seed(2)
    if not same(one, encoder(graph, x).z, exact=True):
        yield "in evaluation two calls of forward() give different embeddings; use random numbers only in training"


def repeats(candidate: Candidate) -> Iterator[str]:
    """The same seed gives the same encoder."""
    yield from determinism_faults(lambda seed: _encoder(candidate, seed), lambda e: e(random_graph(), _features()).z)


def restores(candidate: Candidate) -> Iterator[str]:
    """Saving and loading the state restores it."""
    yield from state_faults(lambda seed: _encoder(candidate, seed), lambda e: e(random_graph(), _features()).z)


def follows_the_nodes(candidate: Candidate) -> Iterator[str]:
    """Reordering the nodes reorders the embeddings in the same way."""
    encoder, order = _encoder(candidate).eval(), torch.randperm(N, generator=torch.Generator().manual_seed(4))
    moved = encoder(random_graph(order.numpy()), _features()[order]).z
    if not same(moved, encoder(random_graph(), _features()).z[order]):
        yield "the embeddings change with the order of the nodes; aggregate over neighbours by sum, mean or maximum"


def random_graph(order: np.ndarray | None = None) -> Graph:
    """Return a directed graph with positive weights, its nodes in `order`; one node has no edges."""
    draw = np.random.default_rng(0)
    dense = draw.uniform(0.1, 2, (N, N)) * (draw.uniform(size=(N, N)) < 0.4)
    dense[-1] = dense[:, -1] = 0
    if order is not None:
        dense = dense[order][:, order]
    return Graph.from_scipy(scipy.sparse.csr_array(dense.astype(np.float32)))


def _features() -> torch.Tensor:
    return torch.randn(N, WIDTH, generator=torch.Generator().manual_seed(2))


def _encoder(candidate: Candidate, seed: int = 0) -> GraphEncoder:
    return candidate.create(WIDTH, "auto", seed=seed)


CHECKS: tuple[Check, ...] = (
    encodes,
    embeds_subgraphs,
    weighs_pairs,
    learns,
    is_deterministic_in_evaluation,
    repeats,
    restores,
    follows_the_nodes,
)
