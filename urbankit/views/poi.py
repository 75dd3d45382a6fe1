"""The view of similarity in points of interest, section 3.4.1 of the UrbanMMCL paper."""

from __future__ import annotations

from typing import Literal

import numpy as np
import scipy.sparse
from pydantic import Field

from urbankit.city.city import City
from urbankit.city.raw_features import RawSource, points_of_interest
from urbankit.views.base import PairParams, View, ViewGraph, location_order
from urbankit.views.similarity import cosine_similarity


class PoiView(View):
    """Cosine similarity of the counts of points of interest by category, `a_ij = sim(p_i, p_j)`.

    The diagonal is left out, since graph encoders add self-loops. Regions without points of interest are absent.
    """

    class Params(PairParams):
        counts: Literal["raw", "log", "tf_idf"] = Field(
            "raw",
            description="What is compared: the counts, log(1 + counts), or counts weighted by the rarity of their"
            " category among the regions, log(N / regions that have it).",
            json_schema_extra={"source": "raw in 3.4.1"},
        )

    params: Params

    def requires(self, city: City) -> str | None:
        return None if city.poi_counts() is not None else "the city has no points of interest"

    def raw_features(self, city: City, name: str) -> list[RawSource]:
        return points_of_interest(city)

    def build(self, city: City) -> ViewGraph:
        counts = city.poi_counts()
        if counts is None:
            raise ValueError(self.requires(city))
        order = location_order(city)
        compared, present = _compared(counts[0][order], self.params.counts)
        return ViewGraph(cosine_similarity(compared, self.params.strongest_pairs(len(present))), present).reordered(
            order
        )


def _compared(counts: scipy.sparse.csr_array, how: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the values that are compared, float64 [N, C], and which regions have any (bool [N])."""
    values: np.ndarray = np.asarray(counts.todense(), dtype=np.float64)
    present = np.count_nonzero(values, axis=1) > 0
    if how == "log":
        values = np.log1p(values)
    elif how == "tf_idf":
        frequency = (values > 0).sum(axis=0)
        values = values * np.log(len(values) / np.maximum(frequency, 1))
    return values, present
