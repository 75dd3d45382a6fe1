"""Scaling of a view's weights: normalised with self-loops, or to the range of 0 to 1."""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from urbankit.graph.graph import Graph

Normalisation = Literal["symmetric", "row", "none"]

DESCRIPTION = (
    "How the weights are scaled, D being the row sums of A + I: `symmetric` is D^-1/2 (A + I) D^-1/2, `row` is"
    " D^-1 (A + I), `none` is A + I."
)


def normalise(graph: Graph, how: Normalisation = "symmetric") -> tuple[Graph, Tensor]:
    """Return the graph with normalised weights, and the weight of each node's self-loop [n]; both carry gradients.

    The self-loops of A + I are separate from the edges, so that the graph keeps its set of edges. A node without
    edges keeps its vector. For directed views D are the row sums on both sides: the eigenvalues then are those of
    the random walk D^-1 (A + I), none above 1.
    """
    return graph.cached_with_weights(f"normalised {how}", lambda: _normalised(graph, how))


def scaled(graph: Graph) -> Graph:
    """Return the graph with its weights divided by their 99th percentile and clipped to 1."""
    if not graph.n_edges:
        return graph
    rank = max(1, round(0.99 * graph.n_edges))
    top = graph.weight.kthvalue(rank).values.clamp(min=1e-12)
    return graph.with_weight((graph.weight / top).clamp(max=1.0))


def _normalised(graph: Graph, how: Normalisation) -> tuple[Graph, Tensor]:
    weight = graph.weight
    if how == "none":
        return graph, weight.new_ones(graph.n)
    degree = weight.new_ones(graph.n).scatter_add(0, graph.src, weight)
    if how == "row":
        return graph.with_weight(weight / degree.take(graph.src)), 1 / degree
    root = degree.rsqrt()
    return graph.with_weight(weight * root.take(graph.src) * root.take(graph.dst)), 1 / degree
