"""ReMVC: Zhang, Long and Cong, "Region Embedding with Intra and Inter-View Contrastive Learning", TKDE 2023.

Two views of a region, its points of interest and its flows, are encoded on their own. In the order of the paper:

- POI view: the distribution of a region's points over categories, through one layer, `ReLU(W p + b)`. Positives are
  the region with a tenth of its points deleted, added again, or replaced by points of any category.
- Mobility view: matrices of the trips that leave a region and that reach it, each normalised to sum to one, through
  one layer each; the view's embedding is the mean of both. Positives are four variants with Gaussian noise.
- Negatives of a region are other regions, drawn with probabilities that grow with their dissimilarity in the view.
- Intra-view loss, with dot products and τ = 0.08: the mean over the positives p of `-log( exp(z·z_p/τ) / (Σ_{p'}
  exp(z·z_{p'}/τ) + Σ_n exp(z·z_n/τ)) )`.
- Inter-view loss: a scorer of (POI embedding, flow embedding) should find the region's own pair among pairs in which
  one of the two is of a negative region: `-log softmax` of its score.
- Total: `flow + 0.0001 · POI + 1.0 · inter-view`, the weights of the authors' configuration. The region embedding is
  both views' embeddings side by side.

Departures:

- Regions come in mini-batches, where the authors take them one by one with negatives from the whole city. Negatives
  are drawn from the mini-batch, at most as many as it has, by the Euclidean distance of the features of the view. The
  authors publish the probabilities that they draw by, not how they were made; those of the POI view are a symmetric
  matrix divided by its row sums, as distances would be.
- The authors' matrices have a row for each hour of a working day and of a weekend's day. Their published
  configuration, a perceptron, sums the rows, so that no hour reaches the encoder. Here the sums stand beside the
  distribution over the 48 hours where the city's flows have times; `hours: false`, or flows without times, is what the
  authors run. Noise is added to the sums, once, and not to 48 numbers that are then summed.
- `scorer`: the authors' scorer is one linear layer on both embeddings side by side. It gives a pair the sum of two
  scores, which cannot tell whether they belong together; a hidden layer can.
"""

from __future__ import annotations

import numpy as np
import torch
from pydantic import Field
from pydantic.config import JsonDict
from torch import Tensor, nn
from torch.nn import functional as F

from urbankit.methods.base import Method, MethodInputs
from urbankit.registry import component
from urbankit.utils.errors import Problem, UserError
from urbankit_baselines.remvc_features import changed, distribution, flow_profiles, noisy

SOURCE: JsonDict = {"source": "authors' configuration"}


class ReMVC(Method):
    """Contrasts regions within points of interest and within flows, and regions with themselves between the two.

    It reads the city's points of interest and flows as they are; a region without the one has zeros in its place, and
    takes part in the losses of the other. Raises `UserError` for a city without either source.
    """

    class Params(component.Params):
        dim: int = Field(
            16, ge=1, description="Width of each view's embedding; a region's is both side by side.",
            json_schema_extra=SOURCE,
        )  # fmt: skip
        temperature: float = Field(0.08, gt=0, description="Temperature τ within a view.", json_schema_extra=SOURCE)
        poi_negatives: int = Field(10, ge=1, description="Negatives a region, POI view.", json_schema_extra=SOURCE)
        flow_negatives: int = Field(150, ge=1, description="Negatives a region, flows.", json_schema_extra=SOURCE)
        pair_negatives: int = Field(
            5, ge=1, description="Negatives of each view that pairs are made of.", json_schema_extra=SOURCE
        )
        changed_points: float = Field(
            0.1, gt=0, lt=1, description="Share of points that a positive differs in.", json_schema_extra=SOURCE
        )
        noise: float = Field(
            1e-4, gt=0, description="Deviation of the noise of flow positives.", json_schema_extra=SOURCE
        )
        noisy_variants: int = Field(4, ge=1, description="Flow positives a region.", json_schema_extra=SOURCE)
        poi_weight: float = Field(1e-4, ge=0, description="Weight of the POI view's loss.", json_schema_extra=SOURCE)
        pair_weight: float = Field(1.0, ge=0, description="Weight of the inter-view loss.", json_schema_extra=SOURCE)
        scorer: int = Field(
            0, ge=0, description="Hidden width of the inter-view scorer; 0 is one linear layer.",
            json_schema_extra=SOURCE,
        )  # fmt: skip
        hours: bool = Field(
            True,
            description="Whether the hours of flows are part of their profiles, where the city's flows have times.",
            json_schema_extra={"source": "false in the authors' configuration"},
        )

    params: Params
    counts: Tensor
    has_poi: Tensor
    has_flows: Tensor

    def __init__(self, params: Params, inputs: MethodInputs) -> None:
        super().__init__(params, inputs)
        counts = _need(inputs)
        self.leaving, self.reaching, has_flows = flow_profiles(inputs.city, params.hours)
        self.register_buffer("counts", torch.from_numpy(counts), persistent=False)
        self.register_buffer("has_poi", self.counts.sum(dim=1) > 0, persistent=False)
        self.register_buffer("has_flows", torch.from_numpy(has_flows), persistent=False)
        d = params.dim
        self.poi_encoder = _Layer(counts.shape[1], d)
        self.leaving_encoder, self.reaching_encoder = (_Layer(p.width, d) for p in (self.leaving, self.reaching))
        self.pair_scorer: nn.Module = nn.Linear(2 * d, 1)
        if params.scorer:
            self.pair_scorer = nn.Sequential(nn.Linear(2 * d, params.scorer), nn.ReLU(), nn.Linear(params.scorer, 1))
        self.dim, self.blocks = 2 * d, (d, d)

    def loss(self, regions: Tensor) -> dict[str, Tensor]:
        """Weighted sum of both intra-view losses and the inter-view loss, over the regions that have what it is of."""
        p = self.params
        has_poi, has_flows = self.has_poi[regions], self.has_flows[regions]
        poi, poi_loss, other_poi = self._poi_view(regions[has_poi])
        flow, flow_loss, other_flow = self._flow_view(regions[has_flows])
        mine = has_flows[has_poi], has_poi[has_flows]  # the rows of either view that are in both
        other_poi, other_flow = (_some_columns(rows, p.pair_negatives) for rows in (other_poi, other_flow))
        pair_loss = self._inter_view(poi[mine[0]], flow[mine[1]], poi[other_poi[mine[0]]], flow[other_flow[mine[1]]])
        total = flow_loss + p.poi_weight * poi_loss + p.pair_weight * pair_loss
        return {"total": total, "poi": poi_loss, "flow": flow_loss, "poi–flow": pair_loss}

    def forward(self, regions: Tensor) -> Tensor:
        poi = self._poi(self.counts[regions]).masked_fill(~self.has_poi[regions].unsqueeze(1), 0.0)
        flow = self._flow(self.leaving.sparse(regions), self.reaching.sparse(regions))
        return torch.cat([poi, flow.masked_fill(~self.has_flows[regions].unsqueeze(1), 0.0)], dim=1)

    def parts(self) -> dict[str, list[nn.Parameter]]:
        encoders = (self.poi_encoder, self.leaving_encoder, self.reaching_encoder)
        return {
            "encoders": [p for encoder in encoders for p in encoder.parameters()],
            "pretext": list(self.pair_scorer.parameters()),
        }

    def _poi(self, counts: Tensor) -> Tensor:
        return self.poi_encoder(distribution(counts))

    def _flow(self, leaving: Tensor, reaching: Tensor) -> Tensor:
        return (self.leaving_encoder(leaving) + self.reaching_encoder(reaching)) / 2

    def _poi_view(self, regions: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Embeddings [P, d] of regions that all have points, their loss, and the rows of their negatives [P, K]."""
        counts = self.counts[regions]
        z = self._poi(counts)
        others = negatives(distribution(counts), self.params.poi_negatives)
        positives = [self._poi(variant) for variant in changed(counts, self.params.changed_points)]
        return z, intra_view(z, torch.stack(positives, dim=1), others, self.params.temperature), others

    def _flow_view(self, regions: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """As `_poi_view`, of regions that all have flows."""
        p, leaving, reaching = self.params, self.leaving(regions), self.reaching(regions)
        z = self._flow(leaving, reaching)
        others = negatives(torch.cat([leaving, reaching], dim=1), p.flow_negatives)
        variants = (noisy(profiles, p.noise, p.noisy_variants) for profiles in (leaving, reaching))
        positives = [self._flow(*variant) for variant in zip(*variants, strict=True)]
        return z, intra_view(z, torch.stack(positives, dim=1), others, p.temperature), others

    def _inter_view(self, poi: Tensor, flow: Tensor, other_poi: Tensor, other_flow: Tensor) -> Tensor:
        """The pair (poi, flow) [R, d] among pairs with the negatives [R, K, d] of either view."""
        poi, flow = poi.unsqueeze(1), flow.unsqueeze(1)
        pairs = torch.cat(
            [
                torch.cat([poi, flow], dim=2),
                torch.cat([other_poi, flow.expand(-1, other_poi.shape[1], -1)], dim=2),
                torch.cat([poi.expand(-1, other_flow.shape[1], -1), other_flow], dim=2),
            ],
            dim=1,
        )
        scores = self.pair_scorer(pairs).squeeze(2)
        return -scores.log_softmax(dim=1)[:, 0].sum() / max(1, len(scores))


def intra_view(z: Tensor, positives: Tensor, others: Tensor, temperature: float) -> Tensor:
    """Mean loss of embeddings [P, d] with positives [P, M, d] and negatives among themselves, rows int64 [P, K].

    Zero where there is no negative.
    """
    if not others.numel():
        return (z.sum() + positives.sum()) * 0.0
    own = (positives * z.unsqueeze(1)).sum(dim=2)
    scores = torch.cat([own, (z @ z.T).gather(1, others)], dim=1) / temperature
    return -scores.log_softmax(dim=1)[:, : positives.shape[1]].mean()


def negatives(features: Tensor, k: int) -> Tensor:
    """For each row of features [P, W] at most k different others, the more dissimilar the likelier: int64 [P, K]."""
    weights = torch.cdist(features, features).cpu()
    # Rows that are alike are still others.
    weights = (weights + 1e-6).fill_diagonal_(0.0)
    k = min(k, len(features) - 1)
    if k < 1:
        return torch.zeros(len(features), 0, dtype=torch.int64, device=features.device)
    return torch.multinomial(weights, k).to(features.device)


def _some_columns(others: Tensor, k: int) -> Tensor:
    return others[:, torch.randperm(others.shape[1])[:k].to(others.device)]


class _Layer(nn.Linear):
    """`ReLU(W x + b)` of rows x [B, width], dense or sparse."""

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x @ self.weight.T + self.bias)


def _need(inputs: MethodInputs) -> np.ndarray:
    """The city's counts of points, float32 [N, C], fractions rounded; a `UserError` without them or without flows."""
    counts = inputs.city.poi_counts()
    lacking = [("points of interest", "poi", counts), ("flows", "flows", inputs.city.flows())]
    problems = [
        Problem(f"the city has no {what}, which remvc learns from; name them in its city file as `{key}`", key="method")
        for what, key, data in lacking
        if data is None
    ]
    if problems:
        raise UserError(problems)
    assert counts is not None
    return counts[0].toarray().round().astype(np.float32)
