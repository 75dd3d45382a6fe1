"""Points of interest as a modality: how many of each category a region has."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse
from pydantic import Field

from urbankit.city.city import City
from urbankit.city.raw_features import RawSource, points_of_interest
from urbankit.modalities.count_transform import DESCRIPTION, CountTransform, transform_counts
from urbankit.modalities.features import FeatureEncoder, FeatureParams


class PoiCounts(FeatureEncoder):
    """The count of every category, standardised over the regions; regions without a row of counts are absent."""

    class Params(FeatureParams):
        form: CountTransform = Field("log", description=DESCRIPTION)

    params: Params

    @classmethod
    def requires(cls, params: Any, city: City, modality: str) -> str | None:
        return "the city has no points of interest" if city.poi_counts() is None else None

    @classmethod
    def raw_features(cls, params: Any, city: City, modality: str) -> list[RawSource]:
        # The floors have the logarithms of the counts already.
        features = [] if params.form == "log" else super().raw_features(params, city, modality)
        return [*points_of_interest(city), *features]

    def features(self, city: City) -> tuple[np.ndarray, np.ndarray]:
        counts, _ = _counts(city)
        region = np.flatnonzero(city.poi_present)
        return transform_counts(counts[region].toarray().astype(np.float64), self.params.form), region

    def names(self, city: City) -> list[str]:
        return _counts(city)[1]


def _counts(city: City) -> tuple[scipy.sparse.csr_array, list[str]]:
    counts = city.poi_counts()
    if counts is None:
        raise ValueError("the city has no points of interest")
    return counts
