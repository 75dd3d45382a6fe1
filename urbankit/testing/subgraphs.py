"""The conformance checks of a subgraph sampler."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from urbankit.graph.subgraph import Readout, Subgraphs, SubgraphSampler, readout
from urbankit.testing.candidate import Candidate, Check
from urbankit.testing.graph_encoders import N, random_graph
from urbankit.testing.modules import same, shape_fault

ROOTS = (3, 0, 11, 3)


def samples(candidate: Candidate) -> Iterator[str]:
    """It draws a subgraph of every root, which contains the root."""
    drawn = _drawn(candidate)
    if not isinstance(drawn, Subgraphs):
        yield f"sample() gives {type(drawn).__name__}; expected urbankit.graph.subgraph.Subgraphs"
        return
    count = len(drawn.node)
    if drawn.node.dtype != torch.int64 or drawn.node.min() < 0 or drawn.node.max() >= N:
        yield f"`node` must be the region of every node, int64 from 0 to {N - 1}"
    elif (roots := drawn.node[drawn.root].tolist()) != list(ROOTS):
        yield f"`root` points at the regions {roots}; expected the roots {list(ROOTS)}, in order"
    width = drawn.graph.width
    if not drawn.shared and count != len(ROOTS) * width:
        yield f"{count} nodes for {len(ROOTS)} roots of width {width}; pad with nodes that are not `used`"
    if drawn.used.dtype != torch.bool or len(drawn.used) != count or not drawn.used[drawn.root].all():
        yield f"`used` must be bool [{count}], true at every root"
    elif (~drawn.used[drawn.graph.src] | ~drawn.used[drawn.graph.dst]).any():
        yield "a node that is not `used` has edges; remove them"


def keeps_to_the_view(candidate: Candidate) -> Iterator[str]:
    """Its edges are edges of the view, with the weights passed to `sample`."""
    graph, drawn = random_graph(), _drawn(candidate)
    edges = graph.edge_ids(drawn.node[drawn.graph.src], drawn.node[drawn.graph.dst])
    if (edges < 0).any():
        yield "a subgraph has edges that are not in the view; take edges from the view, with Graph.edge_ids"
    elif not same(drawn.graph.weight, graph.weight[edges.long()]):
        yield "the edges of a subgraph do not have the weights passed to sample(); use weight[edge]"
    width = drawn.graph.width
    if not drawn.shared and (drawn.graph.src // width != drawn.graph.dst // width).any():
        yield "an edge connects the subgraphs of two roots"


def learns(candidate: Candidate) -> Iterator[str]:
    """Gradients reach the weights of the view through the subgraphs."""
    graph = random_graph()
    weight = graph.weight.clone().requires_grad_()
    drawn = _sampler(candidate).sample(graph, weight, torch.tensor(ROOTS), torch.Generator().manual_seed(0))
    if drawn.graph.n_edges and not drawn.graph.weight.requires_grad:
        yield "no gradient reaches the weights; index them (weight[edge]), without detach(), numpy or torch.no_grad()"


def reads_out(candidate: Candidate) -> Iterator[str]:
    """`readout` accepts its subgraphs."""
    drawn = _drawn(candidate)
    h = torch.randn(len(drawn.node), 5)
    widths: dict[Readout, int] = {"mean": 5, "root": 5, "mean+root": 10}
    for how, width in widths.items():
        yield from shape_fault(f"readout(…, '{how}')", readout(h, drawn, how), len(ROOTS), width)


def draws_from_its_generator(candidate: Candidate) -> Iterator[str]:
    """It draws random numbers only from its generator."""
    torch.manual_seed(1)
    one = _drawn(candidate)
    torch.manual_seed(2)
    two = _drawn(candidate)
    if not (same(one.node, two.node, exact=True) and same(one.graph.src, two.graph.src, exact=True)):
        yield "two samples with one seed differ; draw random numbers only from the argument `generator`"


def _sampler(candidate: Candidate) -> SubgraphSampler:
    return candidate.create()


def _drawn(candidate: Candidate) -> Subgraphs:
    graph = random_graph()
    return _sampler(candidate).sample(graph, graph.weight, torch.tensor(ROOTS), torch.Generator().manual_seed(0))


CHECKS: tuple[Check, ...] = (samples, keeps_to_the_view, learns, reads_out, draws_from_its_generator)
