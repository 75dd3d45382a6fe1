"""The base of graph encoders, which compute node embeddings from a view and node features."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from urbankit.graph.engine import propagate
from urbankit.graph.graph import Graph
from urbankit.graph.neighbour_sums import NeighbourSums
from urbankit.graph.normalise import Normalisation, normalise
from urbankit.graph.sampled_pairs import SampledPairs
from urbankit.graph.subgraph import Readout, Subgraphs, pool, readout
from urbankit.registry.component import Component, P
from urbankit.registry.contract import check_tensor, check_type


@dataclass(frozen=True)
class Encoded:
    """The nodes of a graph, encoded.

    Attributes:
        z: node embeddings [n, out_dim].
        mu: their mean [n, out_dim], of a variational encoder.
        log_sigma: the logarithm of their standard deviation [n, out_dim], of a variational encoder.
    """

    z: Tensor
    mu: Tensor | None = None
    log_sigma: Tensor | None = None


@dataclass(frozen=True)
class HeldOut:
    """A loss on regions held out of training, and the loss of a model that has learned nothing."""

    loss: Tensor
    reference: Tensor


class GraphEncoder(Component[P], nn.Module, ABC):
    """Encodes the nodes of a graph.

    Args:
        params: the component's validated `Params`.
        in_dim: width of the node features.
        engine: what computes the message passing: `auto`, `dgl` or `torch`.

    Attributes:
        out_dim: width of the node embeddings; set it in `__init__`.
    """

    out_dim: int

    def __init__(self, params: P, in_dim: int, engine: str = "auto") -> None:
        nn.Module.__init__(self)
        self.params, self.in_dim, self.engine = params, in_dim, engine
        self.register_forward_hook(GraphEncoder._check)

    def _check(self, arguments: tuple[Any, ...], encoded: Any) -> None:
        check_type(self, "forward()", encoded, Encoded)
        check_tensor(self, "forward()", encoded.z, None, self.out_dim)

    @property
    def needs_encoding(self) -> bool:
        """Whether edge weights or losses depend on the encoded nodes."""
        cls = type(self)
        return cls.edge_weight is not GraphEncoder.edge_weight or cls.losses is not GraphEncoder.losses

    def start(self, graph: Graph) -> None:
        """Set starting values that depend on the view; called once, after the modules have their random values."""

    @abstractmethod
    def forward(self, graph: Graph, x: Tensor, generator: torch.Generator | None = None) -> Encoded:
        """Encode the nodes of `graph`.

        Args:
            graph: the view, of n nodes.
            x: node features [n, in_dim].
            generator: source of random numbers, which are drawn in training mode only; None for torch's global one.
        """

    def forward_nodes(self, graph: Graph, x: Tensor, nodes: Tensor) -> Tensor:
        """Return the embeddings [M, out_dim] of a graph whose node m has the features `x[nodes[m]]`.

        Args:
            graph: a graph of M nodes.
            x: features [N, in_dim].
            nodes: rows of `x`, int64 [M]; a row may occur many times.
        """
        return self(graph, x.index_select(0, nodes)).z

    def embed(self, subgraphs: Subgraphs, x: Tensor, how: Readout = "mean") -> Tensor:
        """Return `Hᵢ = GCN(Ĝᵢ, X[Vᵢ])` (eq. 23), read out to one vector `sᵢ = READOUT(Hᵢ)` (eq. 24) for each root.

        Args:
            subgraphs: the subgraphs Ĝᵢ of B roots.
            x: node features of all regions, [N, in_dim], which `subgraphs.node` indexes.
            how: the readout.

        Returns:
            [B, out_dim], or [B, 2 out_dim] for `mean+root`.
        """
        return readout(self.forward_nodes(subgraphs.graph, x, subgraphs.node), subgraphs, how)

    def losses(self, graph: Graph, encoded: Encoded, rows: Tensor) -> dict[str, Tensor]:
        """Return the losses of the encoder itself by name; none by default.

        Args:
            graph: the view.
            encoded: what `forward` returned.
            rows: the nodes whose losses count, int64 [B].
        """
        return {}

    def neighbour_sums(self, graph: Graph, x: Tensor) -> NeighbourSums | None:
        """Return the sums over neighbours of all nodes, from which `encode_nodes` encodes a few nodes.

        None by default: the encoder needs the whole graph, and every training step encodes it.

        Args:
            graph: the view.
            x: node features [n, in_dim].
        """
        return None

    def encode_nodes(self, sums: NeighbourSums, nodes: Tensor, x: Tensor, neighbours: Tensor) -> Encoded:
        """Encode a few nodes as `forward` does, m of them.

        Args:
            sums: what `neighbour_sums` returned.
            nodes: int64 [m].
            x: their features [m, in_dim].
            neighbours: their sums over neighbours, [m, in_dim].
        """
        raise NotImplementedError(f"{type(self).__name__} encodes whole graphs only")

    def sampled_losses(self, graph: Graph, encoded: Encoded, nodes: Tensor, pairs: SampledPairs) -> dict[str, Tensor]:
        """Return unbiased estimates of `losses` for `pairs.rows` from `pairs`; none by default.

        Args:
            graph: the view.
            encoded: the `nodes`, encoded.
            nodes: distinct and sorted, int64 [m]; `pairs.nodes` are among them.
            pairs: the pairs of the nodes whose losses count.
        """
        return {}

    def held_out(self, graph: Graph, encoded: Encoded, rows: Tensor) -> dict[str, HeldOut]:
        """Return losses on pairs that training never uses, beside those of a constant, by name; none by default.

        Args:
            graph: the view.
            encoded: what `forward` returned.
            rows: nodes held out of training, int64 [B]; the pairs are those of two of them.
        """
        return {}

    def edge_weight(self, graph: Graph, encoded: Encoded, src: Tensor, dst: Tensor) -> Tensor:
        """Return the weights [E] of the pairs (`src`, `dst`), int64 [E] each.

        By default these are the view's weights A_ij, 0 for a pair without an edge.
        """
        if src is graph.src and dst is graph.dst:
            return graph.weight
        with_zero = torch.cat([graph.weight, graph.weight.new_zeros(1)])
        return with_zero[graph.edge_ids(src, dst)]


class GraphConvolution(nn.Module):
    """One graph convolution `Â X W + b`, Â being the normalised adjacency with self-loops (Kipf and Welling, 2017).

    With `root_weight` it is `Â X W + X V + b`: a node's own features have weights of their own (Hamilton et al., 2017).
    In a view of many edges Â gives a node a hundredth of its own vector, so that all nodes come out alike without it.
    """

    def __init__(
        self, in_dim: int, out_dim: int, normalisation: Normalisation, engine: str, root_weight: bool = False
    ) -> None:
        super().__init__()
        self.out_dim = out_dim
        self.linear = nn.Linear(in_dim, 2 * out_dim if root_weight else out_dim, bias=False)  # W, V
        for weight in self.linear.weight.split(out_dim):
            nn.init.xavier_uniform_(weight)
        self.bias = nn.Parameter(torch.zeros(out_dim))
        self.normalisation, self.engine, self.root_weight = normalisation, engine, root_weight

    def forward(self, graph: Graph, x: Tensor) -> Tensor:
        """Return `Â X W + X V + b` [n, out_dim] of node features `x` [n, in_dim]."""
        return self.gather(graph, self.linear(x))

    def gather(self, graph: Graph, x: Tensor) -> Tensor:
        """Return `Â X W + X V + b` [n, out_dim] of `x = X [W, V]`, which `linear` computed."""
        normalised, self_weight = normalise(graph, self.normalisation)
        if not self.root_weight:
            return propagate(normalised, x, self_weight, self.engine).add_(self.bias)
        neighbours, root = x.chunk(2, dim=1)
        return propagate(normalised, neighbours.contiguous(), self_weight, self.engine).add_(self.bias).add(root)

    def of_sums(self, x: Tensor, neighbours: Tensor) -> Tensor:
        """Return `Â X W + X V + b` [m, out_dim] of m nodes with the features `x` and the sums `neighbours = Â X`."""
        if not self.root_weight:
            return F.linear(neighbours, self.linear.weight, self.bias)
        w, v = self.linear.weight.split(self.out_dim)
        return F.linear(torch.cat([neighbours, x], dim=1), torch.cat([w, v], dim=1), self.bias)

    def pooled(self, subgraphs: Subgraphs, x: Tensor, shares: Tensor) -> Tensor:
        """Return the sum [B, out_dim] of the convolution's rows in each subgraph, weighted by `shares` [n].

        The convolution and the sum R are linear, `R (Â X W) = (R Â) X W`, so R is applied first: B rows instead of n.
        `x` is [n, in_dim]; the shares of a subgraph sum to 1.
        """
        neighbours = self._transposed(subgraphs.graph, shares)
        if not self.root_weight:
            return self.linear(pool(x, neighbours, subgraphs)) + self.bias
        w, v = self.linear.weight.split(self.out_dim)
        return F.linear(pool(x, neighbours, subgraphs), w, self.bias) + F.linear(pool(x, shares, subgraphs), v)

    def _transposed(self, graph: Graph, shares: Tensor) -> Tensor:
        """`Âᵀ shares` [n]: the weight of each node in a sum over the rows of `Â X` weighted by `shares` [n]."""
        normalised, self_weight = normalise(graph, self.normalisation)
        messages = shares.take(graph.src) * normalised.weight
        return (shares * self_weight).scatter_add(0, graph.dst, messages)


ROOT_WEIGHT = (
    "Whether a node's own features have weights of their own beside those of its neighbours, as in GraphSAGE. In a view"
    " with an edge between all regions the weighted mean is nearly the same for all nodes."
)


Activation = Literal["leaky_relu", "relu", "elu", "gelu", "none"]


_MODULES: dict[Activation, type[nn.Module]] = {
    "leaky_relu": nn.LeakyReLU,
    "relu": nn.ReLU,
    "elu": nn.ELU,
    "gelu": nn.GELU,
    "none": nn.Identity,
}


def activation(name: Activation) -> nn.Module:
    """Return the module of an activation."""
    return _MODULES[name]()
