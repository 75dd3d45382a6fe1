"""Three anchor regions that location, function and flows relate differently (paper, figure 7)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from urbankit.city.city import City
from urbankit.utils.standardise import centred_unit

MOST_CANDIDATES = 300
"""Regions among which anchors are looked for; the triples of them go with the cube of their number."""

PAIRS = ((0, 1), (0, 2), (1, 2))
"""A–B, A–C and B–C."""


@dataclass(frozen=True)
class Relations:
    """How a few regions [n] are related: `distance_km`, cosine similarity `poi` of counts of points of interest, and
    `flow` in both directions together, each [n, n]; None where the city has no such data.
    """

    distance_km: NDArray[np.float64]
    poi: NDArray[np.float64] | None
    flow: NDArray[np.float64] | None

    @classmethod
    def of(cls, city: City, regions: NDArray[np.int64]) -> Relations:
        """Those of the rows `regions` [n] of the city."""
        xy = city.xy[regions]
        distance = np.linalg.norm(xy[:, None] - xy[None], axis=2) / 1000
        counts, flows = city.poi_counts(), city.flows()
        poi = flow = None
        if counts is not None:
            rows = counts[0][regions].toarray()
            length = np.linalg.norm(rows, axis=1, keepdims=True)
            unit = np.divide(rows, length, out=np.zeros_like(rows), where=length > 0)
            poi = unit @ unit.T
        if flows is not None:
            between = flows[regions][:, regions].toarray()
            flow = between + between.T
        return cls(distance, poi, flow)


def find_anchors(city: City, requested: Sequence[str] | None = None) -> list[int]:
    """Rows of the anchor regions A, B and C: those `requested` by id, else the best triple.

    The best triple is the one for which all of this holds as far as possible, by the rank of each pair among all
    pairs of candidates: A and B are near and unlike in function, A and C are far apart and alike in function, B and C
    are tied by flows. Data that the city lacks does not count. The result is deterministic, and empty for a city of
    fewer than three regions or without geometry.
    """
    if not city.has_geometry:
        return []
    if requested is not None:
        row_of = {region: row for row, region in enumerate(city.region_ids)}
        return [row_of[region] for region in requested if region in row_of]
    if city.n_regions < 3:
        return []
    candidates = _candidates(city)
    return [int(candidates[row]) for row in _best(Relations.of(city, candidates))]


def embedding_similarity(vectors: NDArray[np.float32], regions: Sequence[int]) -> NDArray[np.float32]:
    """Cosine similarities [n, n] of the `regions` among `vectors` [N, dim] about their mean."""
    z = centred_unit(vectors)[list(regions)]
    return z @ z.T


def _candidates(city: City) -> NDArray[np.int64]:
    """Regions with points of interest and flows, as far as the city has them, and with no fewer than most have.

    Few points do not show the function, nor few trips the tie. A random sample if there are too many.
    """
    mask = np.ones(city.n_regions, bool)
    counts, flows = city.poi_counts(), city.flows()
    if counts is not None:
        mask &= _many(np.asarray(counts[0].sum(axis=1)).ravel())
    if flows is not None:
        mask &= _many(np.asarray(flows.sum(axis=0)).ravel() + np.asarray(flows.sum(axis=1)).ravel())
    rows = mask.nonzero()[0] if mask.sum() >= 3 else np.arange(city.n_regions)
    if len(rows) > MOST_CANDIDATES:
        rows = np.sort(np.random.default_rng(0).choice(rows, MOST_CANDIDATES, replace=False))
    return rows


def _many(totals: NDArray[np.float64]) -> NDArray[np.bool_]:
    positive = totals > 0
    return positive & (totals >= np.median(totals[positive])) if positive.any() else positive


def _best(relations: Relations) -> tuple[int, int, int]:
    """The triple with the highest least rank; of equals the one with the highest mean, then the first."""
    distance, n = _rank(relations.distance_km), len(relations.distance_km)
    poi = None if relations.poi is None else _rank(relations.poi)
    flow = None if relations.flow is None else _rank(relations.flow)
    best, triple = -np.inf, (0, 1, 2)
    for a in range(n):
        to_b = [1 - distance[a], *([] if poi is None else [1 - poi[a]])]
        to_c = [distance[a], *([] if poi is None else [poi[a]])]
        least = np.minimum(np.min(to_b, axis=0)[:, None], np.min(to_c, axis=0)[None])
        mean = np.mean(to_b, axis=0)[:, None] + np.mean(to_c, axis=0)[None]
        if flow is not None:
            least, mean = np.minimum(least, flow), mean + flow
        score = least + 1e-3 * mean
        score[a], score[:, a] = -np.inf, -np.inf
        np.fill_diagonal(score, -np.inf)
        if score.max() > best:
            best = float(score.max())
            b, c = np.unravel_index(int(score.argmax()), score.shape)
            triple = (a, int(b), int(c))
    return triple


def _rank(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The share of pairs [n, n] of different regions with a lower value, equals counted half."""
    pairs = np.sort(values[np.triu_indices(len(values), 1)])
    below, upto = np.searchsorted(pairs, values, "left"), np.searchsorted(pairs, values, "right")
    return (below + upto) / (2 * max(len(pairs), 1))
