"""Variational graph auto-encoder, eq. 17 to 21 of the UrbanMMCL paper."""

from __future__ import annotations

import math
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from urbankit.graph.base import ROOT_WEIGHT, Activation, Encoded, GraphConvolution, GraphEncoder, HeldOut, activation
from urbankit.graph.engine import edge_dot
from urbankit.graph.graph import Graph
from urbankit.graph.neighbour_sums import NeighbourSums
from urbankit.graph.normalise import DESCRIPTION, Normalisation
from urbankit.graph.reconstruction import mean_weight, squared_error
from urbankit.graph.sampled_pairs import SampledPairs
from urbankit.registry import component
from urbankit.utils.torch_modules import mean_and_std

# Bounds of log σ: σ between 0.0003 and 55, so that neither it nor its square leaves the range of half floats.
LOG_SIGMA = (-8.0, 4.0)

# Held-out nodes of which all pairs are compared.
MOST_ROWS = 1000


class VGAE(GraphEncoder):
    """Samples node embeddings from Gaussians that a one-layer GCN computes, and learns the weights of the edges.

    The decoder is `Ã_ij = Softplus(zᵢᵀ zⱼ)`, or with `decoder: affine` `Softplus(a zᵢᵀ zⱼ + b)`. Outside training `z`
    is the mean.
    """

    class Params(component.Params):
        latent: int = Field(64, ge=1, description="Width of the embeddings.", json_schema_extra={"source": "4.2.3"})
        activation: Activation = Field(
            "leaky_relu",
            description="Activation of the mean. The paper names LeakyReLU for its one-layer encoder, which returns"
            " mean and deviation. The deviation is positive anyway, so LeakyReLU is that of the mean. It makes means"
            " rarely negative, so that z_i · z_j is positive and learned weights are above log 2. With `none` weights"
            " can be near zero, and the reconstruction is better.",
            json_schema_extra={"source": "eq. 17, 4.2.3"},
        )
        normalise: Normalisation = Field("symmetric", description=DESCRIPTION)
        root_weight: bool = Field(False, description=ROOT_WEIGHT, json_schema_extra={"source": "not in the paper"})
        standardise: bool = Field(
            False,
            description="Whether node features are standardised over the nodes first. Otherwise a part that all nodes"
            " share makes all products of z alike, and these grow with the features in training.",
            json_schema_extra={"source": "not in the paper"},
        )
        decoder: Literal["product", "affine"] = Field(
            "product",
            description="`product` is Softplus(z_i · z_j). `affine` is Softplus(a z_i · z_j + b) with learned a and b,"
            " which starts near the mean weight of the view; the product starts above it, by far in a sparse view.",
            json_schema_extra={"source": "product in eq. 19"},
        )
        initial_sigma: float = Field(
            1.0,
            gt=0,
            le=10,
            description="Initial standard deviation of z, which is multiplied by exp of the encoder's initial output."
            " With 1 the noise is as large as the signal, and dominates the reconstruction.",
            json_schema_extra={"source": "not in the paper"},
        )
        kl_weight: Literal["balanced", "literal"] | Annotated[float, Field(ge=0)] = Field(
            "balanced",
            description="Weight of the divergence. The paper sums it over nodes (eq. 21) while it averages the"
            " reconstruction over all N² pairs (eq. 20): `literal` does that, `balanced` divides both by N², as the"
            " evidence bound has them; a number multiplies eq. 21.",
            json_schema_extra={"source": "eq. 21"},
        )
        kl_scale: float = Field(
            1.0,
            ge=0,
            description="Multiplies the divergence. 1 is right for weights that vary by 1 about their reconstruction."
            " Weights between 0 and 1 vary by 0.1 or less: the divergence then outweighs the reconstruction, and z"
            " carries no information on the view.",
            json_schema_extra={"source": "1 in eq. 21"},
        )
        reconstruction_weight: float = Field(
            1.0, ge=0, description="Weight of the reconstruction.", json_schema_extra={"source": "eq. 20"}
        )

    params: Params

    def __init__(self, params: Params, in_dim: int, engine: str = "auto") -> None:
        super().__init__(params, in_dim, engine)
        self.out_dim = params.latent
        # GCN_μ and GCN_σ have the same messages, so they are one convolution of both widths.
        self.convolution = GraphConvolution(in_dim, 2 * params.latent, params.normalise, engine, params.root_weight)
        self.activation = activation(params.activation)
        if params.initial_sigma != 1:
            self.convolution.bias.data[params.latent :] = math.log(params.initial_sigma)
        if params.decoder == "affine":
            self.scale = nn.Parameter(torch.tensor(1 / params.latent))
            self.offset = nn.Parameter(torch.tensor(0.0))

    def start(self, graph: Graph) -> None:
        """Let the learned weights of `decoder: affine` start near the mean weight of the view."""
        if self.params.decoder == "affine":
            mean = mean_weight(graph).clamp(min=1e-3)
            self.offset.data.copy_(mean.expm1().log())  # the inverse of Softplus

    def forward(self, graph: Graph, x: Tensor, generator: torch.Generator | None = None) -> Encoded:
        """Return z, μ and log σ [n, latent] of eq. 17 and 18; the GCN gives log σ, clamped to `LOG_SIGMA`.

        Eq. 17: `μ = GCN_μ(A, X)`, `σ = GCN_σ(A, X)`.
        Eq. 18: `zᵢ = μᵢ + σᵢ ⊙ εᵢ`, `εᵢ ~ N(0, I)`.
        """
        if self.params.standardise and len(x) > 1:
            mean, std = mean_and_std(x)
            x = (x - mean) / std
        return self._encoded(self.convolution(graph, x), generator)

    def neighbour_sums(self, graph: Graph, x: Tensor) -> NeighbourSums:
        """Return the sums over neighbours: the encoder has one layer, `Â X W + X V + b`, and needs `Â X` only."""
        return NeighbourSums(graph, self.params.normalise, x, self.engine)

    def encode_nodes(self, sums: NeighbourSums, nodes: Tensor, x: Tensor, neighbours: Tensor) -> Encoded:
        """Encode a few nodes; features are standardised by the mean and the standard deviation that `sums` keeps."""
        with torch.autocast(x.device.type, enabled=False):
            x, neighbours = x.float(), neighbours.float()
            if self.params.standardise:
                neighbours = (neighbours - sums.weight(nodes).unsqueeze(1) * sums.mean) / sums.std
                x = (x - sums.mean) / sums.std
            return self._encoded(self.convolution.of_sums(x, neighbours))

    def _encoded(self, messages: Tensor, generator: torch.Generator | None = None) -> Encoded:
        mu, log_sigma = messages.chunk(2, dim=1)  # eq. 17
        mu, log_sigma = self.activation(mu), log_sigma.clamp(*LOG_SIGMA)
        if not self.training:
            return Encoded(mu, mu, log_sigma)
        # Drawn on the generator's device, so that a seed gives the same numbers on every device.
        epsilon = torch.randn(mu.shape, generator=generator, device=generator.device if generator else "cpu")
        return Encoded(mu + log_sigma.exp() * epsilon.to(mu.device), mu, log_sigma)  # eq. 18

    def losses(self, graph: Graph, encoded: Encoded, rows: Tensor) -> dict[str, Tensor]:
        """Return `reconstruction` (eq. 20) and `kl` (eq. 21), estimated from the distinct nodes `rows` (int64 [B]).

        Eq. 20: `L_recon = 1/N² Σᵢ Σⱼ (A_ij - Ã_ij)²`, here the exact mean over i in `rows` and all j of its city.
        Eq. 21: `L_KL = -1/2 Σᵢ Σⱼ (1 + log σ_ij² - μ_ij² - σ_ij²)`, here N/B times the sum over i in `rows`.
        """
        return self._losses(graph, squared_error(graph, *self._factors(encoded.z), rows), encoded, rows)  # eq. 20

    def sampled_losses(self, graph: Graph, encoded: Encoded, nodes: Tensor, pairs: SampledPairs) -> dict[str, Tensor]:
        """Return `losses` for `pairs.rows`, with the reconstruction estimated from `pairs`."""
        reconstruction = pairs.squared_error(*self._factors(encoded.z), nodes)
        return self._losses(graph, reconstruction, encoded, torch.searchsorted(nodes, pairs.rows))

    def _losses(self, graph: Graph, reconstruction: Tensor, encoded: Encoded, rows: Tensor) -> dict[str, Tensor]:
        params, n = self.params, graph.n
        assert encoded.mu is not None and encoded.log_sigma is not None
        weight = params.kl_weight
        if isinstance(weight, str):
            weight = n**-2 if weight == "balanced" else 1.0
        kl = n / max(len(rows), 1) * divergence(encoded.mu[rows], encoded.log_sigma[rows]).sum()  # eq. 21
        return {"reconstruction": params.reconstruction_weight * reconstruction, "kl": params.kl_scale * weight * kl}

    def held_out(self, graph: Graph, encoded: Encoded, rows: Tensor) -> dict[str, HeldOut]:
        """Return the squared error of eq. 20 over the pairs of `rows`, beside that of the mean weight of the view."""
        rows = rows[:MOST_ROWS]
        i, j = torch.combinations(rows).T if len(rows) > 1 else (rows[:0], rows[:0])
        if len(graph.cities) > 1:
            same = graph.city_of(i) == graph.city_of(j)
            i, j = i[same], j[same]
        i, j = torch.cat([i, j]), torch.cat([j, i])
        if not len(i):
            return {}
        edges = graph.edge_ids(i, j)
        weight = (
            torch.where(edges >= 0, graph.weight.take(edges.clamp(min=0).long()), 0.0) if graph.n_edges else i * 0.0
        )
        error = weight - self.edge_weight(graph, encoded, i, j)
        constant = weight - mean_weight(graph)
        return {"reconstruction": HeldOut(error.square().mean(), constant.square().mean())}

    def edge_weight(self, graph: Graph, encoded: Encoded, src: Tensor, dst: Tensor) -> Tensor:
        """Return `Ã_ij = Softplus(zᵢᵀ zⱼ)` (eq. 19) [E], which is positive."""
        left, right = self._factors(encoded.z)
        if src is graph.src and dst is graph.dst:
            return F.softplus(edge_dot(graph, left, right, self.engine))
        return F.softplus((left[src] * right[dst]).sum(dim=1))

    def _factors(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Two tensors [n, d] whose rows i and j have the product to which the decoder applies Softplus."""
        if self.params.decoder == "product":
            return z, z
        ones = z.new_ones(len(z), 1)
        return torch.cat([self.scale * z, self.offset * ones], dim=1), torch.cat([z, ones], dim=1)


def divergence(mu: Tensor, log_sigma: Tensor) -> Tensor:
    """Return `KL(N(μᵢ, σᵢ²) ‖ N(0, I)) = -1/2 Σⱼ (1 + log σ_ij² - μ_ij² - σ_ij²)` (eq. 21) of each node i, [n].

    `mu` and `log_sigma` are [n, d].
    """
    return -0.5 * (1 + 2 * log_sigma - mu.square() - (2 * log_sigma).exp()).sum(dim=1)
