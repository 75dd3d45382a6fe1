"""Normalisation of a view's weights, self-loops included."""

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
    """The graph with normalised weights, and the weight of each node's self-loop [n]; gradients flow into both.

    The self-loops of A + I are kept apart from the edges, so that no graph needs another set of edges. A node without
    edges keeps its own vector. For directed views D are the row sums on both sides: the eigenvalues then are those of
    the random walk D^-1 (A + I), none above 1.
    """
    return graph.keep_own(f"normalised {how}", lambda: _normalised(graph, how))


def _normalised(graph: Graph, how: Normalisation) -> tuple[Graph, Tensor]:
    weight = graph.weight
    if how == "none":
        return graph, weight.new_ones(graph.n)
    degree = weight.new_ones(graph.n).scatter_add(0, graph.src, weight)
    if how == "row":
        return graph.with_weight(weight / degree.take(graph.src)), 1 / degree
    root = degree.rsqrt()
    return graph.with_weight(weight * root.take(graph.src) * root.take(graph.dst)), 1 / degree
