"""PG-SimCLR: Xi et al., "Beyond the First Law of Geography: Learning Representations of Satellite Imagery by
Leveraging Point-of-Interests", WWW 2022.

Two SimCLR models (Chen et al., 2020) are trained on tiles. The positive of a tile is the nearest tile for one model
(the first law of geography), and the tile with the most similar points of interest for the other. In the order of the
paper:

- Positives: the tile and its counterpart, each with a separate random augmentation. The counterpart is the strongest
  edge in the recipe's views `distance` and `poi`. The view `poi` uses the cosine of category counts. The authors' code
  uses their Euclidean distance, which depends mostly on the total counts.
- `hᵢ = f(x̃ᵢ)`, `zᵢ = g(hᵢ) = W₂ ReLU(W₁ hᵢ)`, without biases. f is the recipe's image encoder in place of ResNet-18,
  so that a comparison is between methods and not encoders. g is a projection to 64 numbers that only the loss uses.
- `ℓ(i, j) = -log( exp(sim(zᵢ, zⱼ)/τ) / Σ_{k≠i} exp(sim(zᵢ, z_k)/τ) )`, the mean of it over the 2B tiles of a
  mini-batch, τ = 0.5.
- Fusion: the authors weight both embeddings by an attention that is trained with the labels of each task. Here the
  embedding is the same for all tasks, so both are concatenated and the heads weight them; `fusion` chooses another way.
"""

from __future__ import annotations

import numpy as np
import torch
from pydantic import Field
from scipy import sparse
from torch import Tensor, nn
from torch.nn import functional as F

from urbankit import registry
from urbankit.methods.base import Method, MethodInputs
from urbankit.methods.losses import similarity
from urbankit.modalities.pooling import RegionEncoder
from urbankit.registry import component
from urbankit.registry.component import Use, uses
from urbankit.utils.device import autocast
from urbankit.utils.errors import Problem, UserError
from urbankit.utils.torch_modules import NamedModules
from urbankit_baselines.encoding import cache_frozen, encode
from urbankit_baselines.required import missing, require


class PGSimCLR(Method):
    """Two SimCLR models, one with neighbours in space as positives and one with neighbours in function.

    Tiles are augmented only if the recipe's image encoder does so (`augment: overhead`).
    """

    inductive = True

    class Params(component.Params):
        tiles: str = Field("rsi", description="The modality of the satellite tiles.")
        space: str = Field("distance", description="The view whose strongest edges are the neighbours in space.")
        function: str = Field("poi", description="The view whose strongest edges are the neighbours in function.")
        neighbours: int = Field(
            1,
            ge=1,
            description="The counterpart of a region is drawn from this many strongest edges in every step.",
            json_schema_extra={"source": "1, the nearest"},
        )
        projection: int = Field(
            64,
            ge=2,
            description="Width of the projected vectors in the loss.",
            json_schema_extra={"source": "authors' configuration"},
        )
        temperature: float = Field(
            0.5, gt=0, description="Temperature τ.", json_schema_extra={"source": "authors' configuration"}
        )
        fusion: Use = uses("fusion", "concat", "How both embeddings of a region are combined.")

    params: Params

    def __init__(self, params: Params, inputs: MethodInputs) -> None:
        super().__init__(params, inputs)
        require({"tiles": params.tiles}, inputs.modalities, "modality")
        require({"space": params.space, "function": params.function}, inputs.views, "view")
        self.encoders, self.pools = NamedModules(), {}
        for view in (params.space, params.function):
            self.encoders[view] = encoder = inputs.encoder(params.tiles, params.projection)
            encoder.connect(encoder.width, _projector(encoder.width, params.projection))
            self.pools[view] = RegionEncoder(encoder)
            tiles = self.pools[view].present.numpy()
            counterparts = strongest(inputs.views[view].adjacency, tiles, params.neighbours)
            if (counterparts < 0).all():
                message = f"no two regions with tiles are neighbours in the view '{view}'"
                raise UserError(Problem(message, key="method"))
            self.register_buffer(f"counterparts_{view}", torch.from_numpy(counterparts), persistent=False)
        widths = [encoder.width for encoder in self.encoders.values()]
        self.fusion = registry.create("fusion", params.fusion, widths, widths[0])
        self.dim = self.fusion.out_dim
        self.blocks = self.fusion.blocks([[width] for width in widths])

    def loss(self, regions: Tensor) -> dict[str, Tensor]:
        """Return the losses of both models, which share no weights, and their sum."""
        losses = {view: self._contrast(view, regions) for view in self.pools}
        return {"total": sum(losses.values(), torch.zeros(())), **losses}

    def forward(self, regions: Tensor) -> Tensor:
        encoded = [encode(pool, regions, self.inputs.precision) for pool in self.pools.values()]
        return self.fusion([vectors for vectors, _ in encoded], [present for _, present in encoded])

    def parts(self) -> dict[str, list[nn.Parameter]]:
        parts = [encoder.parts() for encoder in self.encoders.values()]
        return {
            "encoders": [p for part in parts for p in part["backbone"]],
            "pretext": [p for part in parts for p in part["projection"]],
            "fusion": list(self.fusion.parameters()),
        }

    def freeze(self, updated: set[str]) -> None:
        super().freeze(updated)
        cache_frozen(self.pools.values(), self.inputs.precision)

    @classmethod
    def check(cls, params: Params, modalities: set[str], views: set[str]) -> list[tuple[str, str]]:
        return [
            *missing({"tiles": params.tiles}, modalities, "modality"),
            *missing({"space": params.space, "function": params.function}, views, "view"),
        ]

    def _contrast(self, view: str, regions: Tensor) -> Tensor:
        """Return the loss of one model over the regions with a counterpart in its view."""
        candidates = getattr(self, f"counterparts_{view}")[regions]
        count = (candidates >= 0).sum(dim=1)
        regions, candidates, count = regions[count > 0], candidates[count > 0], count[count > 0]
        drawn = (torch.rand(len(count)).to(count.device) * count).long()
        both = torch.cat([regions, candidates.gather(1, drawn.unsqueeze(1)).squeeze(1)])
        h, _ = encode(self.pools[view], both, self.inputs.precision, augment=self.training)
        with autocast(regions.device, self.inputs.precision):
            z = self.encoders[view].project(h)
        return nt_xent(z[: len(regions)], z[len(regions) :], self.params.temperature)


def nt_xent(a: Tensor, b: Tensor, temperature: float) -> Tensor:
    """Return SimCLR's loss of the pairs of rows of `a` [B, d] and `b` [B, d].

    It is the cross-entropy of a row's partner among the 2B - 1 other rows. Zero for fewer than two pairs.
    """
    if len(a) < 2:
        return (a.sum() + b.sum()) * 0.0
    z = torch.cat([a, b])
    logits = similarity(z, z, temperature)
    logits = logits.masked_fill(torch.eye(len(z), dtype=torch.bool, device=z.device), -torch.inf)
    return F.cross_entropy(logits, torch.arange(len(z), device=z.device).roll(len(a)))


def strongest(adjacency: sparse.csr_array, allowed: np.ndarray, k: int) -> np.ndarray:
    """Return the k strongest neighbours of every region, int64 [N, k], padded with -1.

    Regions that are not `allowed` (bool [N]) have no neighbours and are no neighbours. Self-loops are ignored. Of equal
    weights the lower index comes first.
    """
    edges = sparse.coo_array(adjacency)
    mask = allowed[edges.row] & allowed[edges.col] & (edges.row != edges.col)
    row, column, weight = edges.row[mask], edges.col[mask], edges.data[mask]
    order = np.lexsort((column, -weight, row))
    row, column = row[order], column[order]
    rank = np.arange(len(row)) - np.searchsorted(row, row)
    neighbours = np.full((len(allowed), k), -1, dtype=np.int64)
    neighbours[row[rank < k], rank[rank < k]] = column[rank < k]
    return neighbours


def _projector(width: int, out: int) -> nn.Module:
    return nn.Sequential(nn.Linear(width, width, bias=False), nn.ReLU(), nn.Linear(width, out, bias=False))
