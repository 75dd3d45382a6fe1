"""ReMVC: Zhang, Long and Cong, "Region Embedding with Intra and Inter-View Contrastive Learning", TKDE 2023.

Two views of a region, its points of interest and its flows, have separate encoders. In the order of the paper:

- POI view: the distribution of a region's points over categories, through one layer, `ReLU(W p + b)`. Positives are
  the region with a tenth of its points deleted, duplicated, or replaced by points of any category.
- Mobility view: matrices of the trips that leave and that enter a region, each normalised to sum to one, through one
  layer each; the view's embedding is the mean of both. Positives are four variants with Gaussian noise.
- Negatives of a region are other regions, drawn with probabilities that grow with their dissimilarity in the view.
- Intra-view loss, with dot products and τ = 0.08: the mean over the positives p of `-log( exp(z·z_p/τ) / (Σ_{p'}
  exp(z·z_{p'}/τ) + Σ_n exp(z·z_n/τ)) )`.
- Inter-view loss: a scorer of pairs (POI embedding, flow embedding) should give the pair of the region the largest
  score among pairs in which one of the two is of a negative region: `-log softmax` of the score.
- Total: `flow + 0.0001 · POI + 1.0 · inter-view`, the weights of the authors' configuration. The region embedding is
  the concatenation of the embeddings of both views.

Departures:

- Training uses mini-batches. The authors train on single regions with negatives from all of the city. Here negatives
  are drawn from the mini-batch, at most as many as it has, by the Euclidean distance of the features of the view. The
  authors publish their sampling probabilities without a formula; those of the POI view are a symmetric matrix divided
  by its row sums, as distances would give.
- The authors' matrices have a row for each hour of a working day and of a weekend day. Their published configuration,
  a perceptron, sums the rows, so the encoder does not use the hours. Here the encoder gets the sums and, if the city's
  flows have times, the distribution over the 48 hours; `hours: false` is the authors' input. Noise is added to the sums
  once, and not to 48 numbers that are then summed.
- `scorer`: the authors' scorer is one linear layer on both embeddings. Its score of a pair is the sum of two separate
  scores, so it cannot measure whether the two match; a hidden layer can.
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
from urbankit_baselines.remvc_features import changed_counts, distribution, flow_profiles, noisy

SOURCE: JsonDict = {"source": "authors' configuration"}


class ReMVC(Method):
    """Contrastive learning within points of interest, within flows, and between the two.

    It reads the city's points of interest and flows without views. A region without one of the two gets a zero
    embedding for it and is used in the loss of the other only.

    Raises:
        UserError: the city has no points of interest or no flows.
    """

    class Params(component.Params):
        dim: int = Field(
            16, ge=1, description="Width of each view's embedding; a region's embedding has twice this width.",
            json_schema_extra=SOURCE,
        )  # fmt: skip
        temperature: float = Field(0.08, gt=0, description="Temperature τ within a view.", json_schema_extra=SOURCE)
        poi_negatives: int = Field(
            10, ge=1, description="Negatives per region in the POI view.", json_schema_extra=SOURCE
        )
        flow_negatives: int = Field(
            150, ge=1, description="Negatives per region in the flow view.", json_schema_extra=SOURCE
        )
        pair_negatives: int = Field(
            5, ge=1, description="Negatives per view in the inter-view loss.", json_schema_extra=SOURCE
        )
        changed_points: float = Field(
            0.1, gt=0, lt=1, description="Share of points that change in a positive.", json_schema_extra=SOURCE
        )
        noise: float = Field(
            1e-4, gt=0, description="Standard deviation of the noise in flow positives.", json_schema_extra=SOURCE
        )
        noisy_variants: int = Field(4, ge=1, description="Flow positives per region.", json_schema_extra=SOURCE)
        poi_weight: float = Field(1e-4, ge=0, description="Weight of the POI view's loss.", json_schema_extra=SOURCE)
        pair_weight: float = Field(1.0, ge=0, description="Weight of the inter-view loss.", json_schema_extra=SOURCE)
        scorer: int = Field(
            0, ge=0, description="Hidden width of the inter-view scorer; 0 is one linear layer.",
            json_schema_extra=SOURCE,
        )  # fmt: skip
        hours: bool = Field(
            True,
            description="Use the hours of flows as features if the city's flows have times.",
            json_schema_extra={"source": "false in the authors' configuration"},
        )

    params: Params
    counts: Tensor
    has_poi: Tensor
    has_flows: Tensor

    def __init__(self, params: Params, inputs: MethodInputs) -> None:
        super().__init__(params, inputs)
        counts = _poi_counts(inputs)
        self.outgoing, self.incoming, has_flows = flow_profiles(inputs.city, params.hours)
        self.register_buffer("counts", torch.from_numpy(counts), persistent=False)
        self.register_buffer("has_poi", self.counts.sum(dim=1) > 0, persistent=False)
        self.register_buffer("has_flows", torch.from_numpy(has_flows), persistent=False)
        d = params.dim
        self.poi_encoder = _Layer(counts.shape[1], d)
        self.leaving_encoder, self.reaching_encoder = (_Layer(p.width, d) for p in (self.outgoing, self.incoming))
        self.pair_scorer: nn.Module = nn.Linear(2 * d, 1)
        if params.scorer:
            self.pair_scorer = nn.Sequential(nn.Linear(2 * d, params.scorer), nn.ReLU(), nn.Linear(params.scorer, 1))
        self.dim, self.blocks = 2 * d, (d, d)

    def loss(self, regions: Tensor) -> dict[str, Tensor]:
        """Return both intra-view losses, the inter-view loss and their weighted sum.

        Each loss is over the regions that have the data for it.
        """
        p = self.params
        has_poi, has_flows = self.has_poi[regions], self.has_flows[regions]
        poi, poi_loss, poi_negatives = self._poi_view(regions[has_poi])
        flow, flow_loss, flow_negatives = self._flow_view(regions[has_flows])
        in_both = has_flows[has_poi], has_poi[has_flows]  # by row of each view
        poi_rows, flow_rows = (_random_columns(rows, p.pair_negatives) for rows in (poi_negatives, flow_negatives))
        pair_loss = self._inter_view(
            poi[in_both[0]], flow[in_both[1]], poi[poi_rows[in_both[0]]], flow[flow_rows[in_both[1]]]
        )
        total = flow_loss + p.poi_weight * poi_loss + p.pair_weight * pair_loss
        return {"total": total, "poi": poi_loss, "flow": flow_loss, "poi–flow": pair_loss}

    def forward(self, regions: Tensor) -> Tensor:
        poi = self._poi(self.counts[regions]).masked_fill(~self.has_poi[regions].unsqueeze(1), 0.0)
        flow = self._flow(self.outgoing.sparse(regions), self.incoming.sparse(regions))
        return torch.cat([poi, flow.masked_fill(~self.has_flows[regions].unsqueeze(1), 0.0)], dim=1)

    def parts(self) -> dict[str, list[nn.Parameter]]:
        encoders = (self.poi_encoder, self.leaving_encoder, self.reaching_encoder)
        return {
            "encoders": [p for encoder in encoders for p in encoder.parameters()],
            "pretext": list(self.pair_scorer.parameters()),
        }

    def _poi(self, counts: Tensor) -> Tensor:
        return self.poi_encoder(distribution(counts))

    def _flow(self, outgoing: Tensor, incoming: Tensor) -> Tensor:
        return (self.leaving_encoder(outgoing) + self.reaching_encoder(incoming)) / 2

    def _poi_view(self, regions: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return embeddings [P, d] of regions with points, their loss, and the rows of their negatives [P, K]."""
        counts = self.counts[regions]
        z = self._poi(counts)
        rows = negatives(distribution(counts), self.params.poi_negatives)
        positives = [self._poi(variant) for variant in changed_counts(counts, self.params.changed_points)]
        return z, intra_view(z, torch.stack(positives, dim=1), rows, self.params.temperature), rows

    def _flow_view(self, regions: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the same as `_poi_view` for regions with flows."""
        p, outgoing, incoming = self.params, self.outgoing(regions), self.incoming(regions)
        z = self._flow(outgoing, incoming)
        rows = negatives(torch.cat([outgoing, incoming], dim=1), p.flow_negatives)
        variants = (noisy(profiles, p.noise, p.noisy_variants) for profiles in (outgoing, incoming))
        positives = [self._flow(*variant) for variant in zip(*variants, strict=True)]
        return z, intra_view(z, torch.stack(positives, dim=1), rows, p.temperature), rows

    def _inter_view(self, poi: Tensor, flow: Tensor, negative_poi: Tensor, negative_flow: Tensor) -> Tensor:
        """Return the loss of pairs (poi, flow) [R, d] among pairs with the negatives [R, K, d] of each view."""
        poi, flow = poi.unsqueeze(1), flow.unsqueeze(1)
        pairs = torch.cat(
            [
                torch.cat([poi, flow], dim=2),
                torch.cat([negative_poi, flow.expand(-1, negative_poi.shape[1], -1)], dim=2),
                torch.cat([poi.expand(-1, negative_flow.shape[1], -1), negative_flow], dim=2),
            ],
            dim=1,
        )
        scores = self.pair_scorer(pairs).squeeze(2)
        return -scores.log_softmax(dim=1)[:, 0].sum() / max(1, len(scores))


def intra_view(z: Tensor, positives: Tensor, negative_rows: Tensor, temperature: float) -> Tensor:
    """Return the mean loss of embeddings [P, d] with positives [P, M, d] and negatives by row of `z`, int64 [P, K].

    Zero if there is no negative.
    """
    if not negative_rows.numel():
        return (z.sum() + positives.sum()) * 0.0
    positive_scores = (positives * z.unsqueeze(1)).sum(dim=2)
    scores = torch.cat([positive_scores, (z @ z.T).gather(1, negative_rows)], dim=1) / temperature
    return -scores.log_softmax(dim=1)[:, : positives.shape[1]].mean()


def negatives(features: Tensor, k: int) -> Tensor:
    """Return up to k random other rows for each row of features [P, W]: int64 [P, K].

    The probability of a row is proportional to its Euclidean distance; no row is drawn twice.
    """
    weights = torch.cdist(features, features).cpu()
    # Equal rows can be drawn too.
    weights = (weights + 1e-6).fill_diagonal_(0.0)
    k = min(k, len(features) - 1)
    if k < 1:
        return torch.zeros(len(features), 0, dtype=torch.int64, device=features.device)
    return torch.multinomial(weights, k).to(features.device)


def _random_columns(rows: Tensor, k: int) -> Tensor:
    return rows[:, torch.randperm(rows.shape[1])[:k].to(rows.device)]


class _Layer(nn.Linear):
    """`ReLU(W x + b)` for rows x [B, width], dense or sparse."""

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x @ self.weight.T + self.bias)


def _poi_counts(inputs: MethodInputs) -> np.ndarray:
    """Return the city's counts of points, float32 [N, C], fractions rounded.

    Raises `UserError` if the city has no points of interest or no flows.
    """
    counts = inputs.city.poi_counts()
    sources = [("points of interest", "poi", counts), ("flows", "flows", inputs.city.flows())]
    problems = [
        Problem(f"the method remvc needs {name}; add them to the city file as `{key}`", key="method")
        for name, key, data in sources
        if data is None
    ]
    if problems:
        raise UserError(problems)
    assert counts is not None
    return counts[0].toarray().round().astype(np.float32)
