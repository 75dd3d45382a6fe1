"""Any table of numbers by region as a modality."""

from __future__ import annotations

from typing import Any

import numpy as np
from pydantic import Field

from urbankit.city.city import City
from urbankit.city.raw_features import RawSource, table
from urbankit.modalities.features import FeatureEncoder, FeatureParams
from urbankit.utils.errors import Problems, suggest


class Table(FeatureEncoder):
    """The columns of one of the city's tables, standardised over the regions; regions without any value are absent."""

    class Params(FeatureParams):
        table: str | None = Field(None, description="The city's table; the default is the one of the modality's name.")
        columns: list[str] | None = Field(None, min_length=1, description="Its columns; the default is all.")

    params: Params
    free_in_transfer = FeatureEncoder.free_in_transfer | {"table"}

    @classmethod
    def requires(cls, params: Any, city: City, modality: str) -> str | None:
        name = params.table or modality
        return None if name in city.tables else f"the city has no table '{name}'.{suggest(name, city.tables)}"

    @classmethod
    def raw_features(cls, params: Any, city: City, modality: str) -> list[RawSource]:
        return table(city, params.table or modality)

    def features(self, city: City) -> tuple[np.ndarray, np.ndarray]:
        values, columns = city.table(self.params.table or self.modality)
        if self.params.columns is not None:
            values = values[:, self._positions(self.params.columns, columns)]
        region = np.flatnonzero(np.isfinite(values).any(axis=1))
        return values[region], region

    def names(self, city: City) -> list[str]:
        return self.params.columns or city.table(self.params.table or self.modality)[1]

    def _positions(self, requested: list[str], columns: list[str]) -> list[int]:
        problems = Problems()
        for name in requested:
            if name not in columns:
                problems.add(f"no column '{name}'.{suggest(name, columns)}", key=f"modalities.{self.modality}.columns")
        problems.raise_if_any()
        return [columns.index(name) for name in requested]
