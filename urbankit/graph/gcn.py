"""Graph convolutional network (Kipf and Welling, 2017), eq. 23 of the UrbanMMCL paper."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from urbankit.graph.base import ROOT_WEIGHT, Activation, Encoded, GraphConvolution, GraphEncoder, activation
from urbankit.graph.graph import Graph
from urbankit.graph.normalise import DESCRIPTION, Normalisation
from urbankit.graph.subgraph import Readout, Subgraphs, mean_shares, root_shares
from urbankit.registry import component
from urbankit.utils.torch_modules import ModuleList

_SHARES = {"mean": mean_shares, "root": root_shares}


class GCN(GraphEncoder):
    """Layers of `Â X W + b` with an activation between them. It learns no edge weights."""

    class Params(component.Params):
        hidden: list[Annotated[int, Field(ge=1, le=65_536)]] = Field(
            [128],
            description="Widths of the hidden layers; an empty list leaves one layer.",
            json_schema_extra={"source": "4.2.3"},
        )
        out: int = Field(64, ge=1, description="Width of the embeddings.", json_schema_extra={"source": "4.2.3"})
        activation: Activation = Field(
            "leaky_relu",
            description="Activation after every hidden layer. The last layer is linear: an embedding compared by its"
            " cosine wants both signs.",
            json_schema_extra={"source": "4.2.3"},
        )
        normalise: Normalisation = Field("symmetric", description=DESCRIPTION)
        root_weight: bool = Field(False, description=ROOT_WEIGHT, json_schema_extra={"source": "not in the paper"})
        dropout: float = Field(0.0, ge=0, lt=1, description="Dropout after every hidden layer.")

    params: Params

    def __init__(self, params: Params, in_dim: int, engine: str = "auto") -> None:
        super().__init__(params, in_dim, engine)
        widths = [in_dim, *params.hidden, params.out]
        self.out_dim = params.out
        self.layers: ModuleList[GraphConvolution] = ModuleList(
            GraphConvolution(i, o, params.normalise, engine, params.root_weight) for i, o in pairwise(widths)
        )
        self.between = nn.Sequential(activation(params.activation), nn.Dropout(params.dropout))

    def forward(self, graph: Graph, x: Tensor, generator: torch.Generator | None = None) -> Encoded:
        return Encoded(self._output(graph, self._hidden(graph, self.layers[0].linear(x))))

    def forward_nodes(self, graph: Graph, x: Tensor, nodes: Tensor) -> Tensor:
        return self._output(graph, self._hidden(graph, self._first_linear(x, nodes)))

    def embed(self, subgraphs: Subgraphs, x: Tensor, how: Readout = "mean") -> Tensor:
        """Return `Hᵢ = GCN(Ĝᵢ, X[Vᵢ])` (eq. 23), read out by `sᵢ = READOUT(Hᵢ)` (eq. 24).

        The readout is applied within the last layer, which then has B rows instead of M.
        """
        if subgraphs.shared or len(self.layers) == 1:
            return super().embed(subgraphs, x, how)
        h = self._hidden(subgraphs.graph, self._first_linear(x, subgraphs.node))
        readouts = [make(subgraphs) for name, make in _SHARES.items() if name in how.split("+")]
        return torch.cat([self.layers[-1].pooled(subgraphs, h, shares) for shares in readouts], dim=1)

    def _first_linear(self, x: Tensor, nodes: Tensor) -> Tensor:
        # A node occurs in many subgraphs: the first linear layer costs less on x than on its copies.
        return F.embedding(nodes, self.layers[0].linear(x))

    def _hidden(self, graph: Graph, x: Tensor) -> Tensor:
        """The features [n, hidden] after the hidden layers, from those after the first linear layer."""
        for i, layer in enumerate(list(self.layers)[:-1]):
            x = self.between(layer.gather(graph, x if i == 0 else layer.linear(x)))
        return x

    def _output(self, graph: Graph, h: Tensor) -> Tensor:
        last = self.layers[-1]
        return last.gather(graph, h if len(self.layers) == 1 else last.linear(h))
