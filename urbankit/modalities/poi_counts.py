"""Points of interest as a modality: how many of each category a region has."""

from __future__ import annotations

from typing import Any

import numpy as np
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
        own = [] if params.form == "log" else super().raw_features(params, city, modality)
        return [*points_of_interest(city), *own]

    def features(self, city: City) -> tuple[np.ndarray, np.ndarray]:
        counts, _ = city.poi_counts()
        region = np.flatnonzero(city.poi_present)
        return transform_counts(counts[region].toarray().astype(np.float64), self.params.form), region

    def names(self, city: City) -> list[str]:
        return city.poi_counts()[1]
