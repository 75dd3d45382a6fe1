"""PG-SimCLR: Xi et al., "Beyond the First Law of Geography: Learning Representations of Satellite Imagery by
Leveraging Point-of-Interests", WWW 2022.

Two SimCLR models (Chen et al., 2020) learn from tiles: to the one, a tile's positive is the tile nearest in space (the
first law of geography), to the other the tile most alike in points of interest. In the order of the paper:

- Positives: the tile and its counterpart, each under a random augmentation of its own. Which counterpart, the recipe's
  views say: the strongest edge of `distance` and of `poi`. Functions are compared as that view compares them, by the
  cosine of category counts; the authors' code takes their Euclidean distance, in which mostly totals count.
- `hᵢ = f(x̃ᵢ)`, `zᵢ = g(hᵢ) = W₂ ReLU(W₁ hᵢ)`, without biases: the recipe's image encoder in place of ResNet-18, so
  that methods are compared and not encoders, and a projection to 64 numbers that only the loss sees.
- `ℓ(i, j) = -log( exp(sim(zᵢ, zⱼ)/τ) / Σ_{k≠i} exp(sim(zᵢ, z_k)/τ) )`, the mean of it over the 2B tiles of a
  mini-batch, τ = 0.5.
- Fusion: the authors weigh both embeddings by an attention that is trained with the labels of each task. An embedding
  here is the same for all tasks, so both stand side by side and the heads weigh them; `fusion` takes another.
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
from urbankit.utils.errors import Problem, UserError
from urbankit.utils.torch_modules import NamedModules
from urbankit_baselines.encoding import autocast, encode, keep_frozen
from urbankit_baselines.named import missing, require


class PGSimCLR(Method):
    """SimCLR whose positives are neighbours, in space by one encoder and in function by another.

    Without augmentation by the image encoder (`augment: overhead` in the recipe) the tiles are contrasted as they are.
    """

    inductive = True

    class Params(component.Params):
        tiles: str = Field("rsi", description="The modality of the satellite tiles.")
        space: str = Field("distance", description="The view whose strongest edges are the neighbours in space.")
        function: str = Field("poi", description="The view whose strongest edges are the neighbours in function.")
        neighbours: int = Field(
            1,
            ge=1,
            description="Strongest edges of a region that its counterpart is drawn from, anew in every step.",
            json_schema_extra={"source": "1, the nearest"},
        )
        projection: int = Field(
            64,
            ge=2,
            description="Width of the vectors that are contrasted.",
            json_schema_extra={"source": "authors' configuration"},
        )
        temperature: float = Field(
            0.5, gt=0, description="Temperature τ.", json_schema_extra={"source": "authors' configuration"}
        )
        fusion: Use = uses("fusion", "concat", "How both embeddings of a region are joined.")

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
                message = f"no region with a tile has another with a tile beside it in the view '{view}'"
                raise UserError(Problem(message, key="method"))
            self.register_buffer(f"counterparts_{view}", torch.from_numpy(counterparts), persistent=False)
        widths = [encoder.width for encoder in self.encoders.values()]
        self.fusion = registry.create("fusion", params.fusion, widths, widths[0])
        self.dim = self.fusion.out_dim
        self.blocks = self.fusion.blocks([[width] for width in widths])

    def loss(self, regions: Tensor) -> dict[str, Tensor]:
        """The sum of both models' losses, which share no weight."""
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
        keep_frozen(self.pools.values(), self.inputs.precision)

    @classmethod
    def check(cls, params: Params, modalities: set[str], views: set[str]) -> list[tuple[str, str]]:
        return [
            *missing({"tiles": params.tiles}, modalities, "modality"),
            *missing({"space": params.space, "function": params.function}, views, "view"),
        ]

    def _contrast(self, view: str, regions: Tensor) -> Tensor:
        """The loss of one model over the regions that have a counterpart in its view."""
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
    """SimCLR's loss: every row of `a` [B, d] and `b` [B, d] should find the other's row among all 2B - 1 others.

    Zero for fewer than two pairs.
    """
    if len(a) < 2:
        return (a.sum() + b.sum()) * 0.0
    z = torch.cat([a, b])
    logits = similarity(z, z, temperature)
    logits = logits.masked_fill(torch.eye(len(z), dtype=torch.bool, device=z.device), -torch.inf)
    return F.cross_entropy(logits, torch.arange(len(z), device=z.device).roll(len(a)))


def strongest(adjacency: sparse.csr_array, allowed: np.ndarray, k: int) -> np.ndarray:
    """The k strongest neighbours of every region among the `allowed` (bool [N]), the first of equals: int64 [N, k].

    Places without a neighbour, and all of regions that are not allowed, are -1. An edge to itself is none.
    """
    edges = sparse.coo_array(adjacency)
    kept = allowed[edges.row] & allowed[edges.col] & (edges.row != edges.col)
    row, column, weight = edges.row[kept], edges.col[kept], edges.data[kept]
    order = np.lexsort((column, -weight, row))
    row, column = row[order], column[order]
    rank = np.arange(len(row)) - np.searchsorted(row, row)
    found = np.full((len(allowed), k), -1, dtype=np.int64)
    found[row[rank < k], rank[rank < k]] = column[rank < k]
    return found


def _projector(width: int, out: int) -> nn.Module:
    return nn.Sequential(nn.Linear(width, width, bias=False), nn.ReLU(), nn.Linear(width, out, bias=False))
