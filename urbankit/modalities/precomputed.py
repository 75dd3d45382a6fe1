"""Features computed elsewhere as a modality: any table of embeddings by region, a raster, or encoded files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field

from urbankit.city.city import City
from urbankit.city.io.codes import Codes
from urbankit.modalities.cache.embedding_table import EmbeddingTable, Rules, embedding_files, read_embeddings
from urbankit.modalities.features import FeatureEncoder, FeatureParams
from urbankit.modalities.standardise import Statistics
from urbankit.registry.component import SourceFolder


class Precomputed(FeatureEncoder):
    """Vectors of the regions from a file: a table (CSV, JSONL, Parquet), a GeoTIFF, or files of `urbankit encode`.

    A table has one row for each region, with its id and either numeric columns or one column of lists. For a GeoTIFF,
    the vector is the mean of every band over the region; each cell is weighted by its share in the region. For encoded
    files, the vector is the mean over all observations, and regions without an observation are absent.

    Wrong ids, cells and vectors are one `UserError` that names all of them. A row without any number does not cover its
    region, nor does a raster without a valid cell in it.
    """

    class Params(FeatureParams):
        file: Path = Field(
            description="The table (.csv, .tsv, .jsonl, .parquet), raster (.tif), or file or folder that `urbankit "
            "encode` wrote; relative to the recipe."
        )
        region: str = Field("region_id", min_length=1, description="The table's column with the id of a region.")
        columns: list[str] | None = Field(
            None,
            min_length=1,
            description="The numeric columns, the one with lists, or the raster's bands by description. Default: all "
            "but the id.",
        )
        absent: Literal["error", "mask"] = Field(
            "error", description="Regions that the file does not cover: an error, or absent (masked) with a note."
        )
        unknown: Literal["error", "drop"] = Field(
            "error", description="Rows of regions that the city does not have: an error, or ignored with a note."
        )
        codes: Codes = Field(
            "auto",
            description="Whether the numbers are 8-bit codes: `alphaearth` decodes those of AlphaEarth, `none` takes "
            "numbers as they are. `auto` decodes columns A00 to A63 that hold codes, and refuses others that look so.",
        )
        standardise: bool = Field(
            True, description="Standardise every number over the regions; false leaves them unchanged."
        )

    params: Params
    free_in_transfer = FeatureEncoder.free_in_transfer | {"file", "region", "codes"}

    @classmethod
    def reads(cls, params: Any, city: SourceFolder) -> Sequence[Path]:
        return embedding_files(params.file)

    _table: EmbeddingTable | None = None

    def features(self, city: City) -> tuple[np.ndarray, np.ndarray]:
        table = self._embeddings(city)
        return table.values, table.region

    def names(self, city: City) -> list[str]:
        return self._embeddings(city).names

    def _embeddings(self, city: City) -> EmbeddingTable:
        """Return the table of the file, which is read once."""
        if self._table is None:
            params = self.params
            rules = Rules(
                params.region, params.columns, params.absent == "mask", params.unknown == "drop", params.codes
            )
            self._table = read_embeddings(params.file, city, rules, f"modalities.{self.modality}")
            self.notes = self._table.notes
        return self._table

    def describe(self, values: np.ndarray, names: list[str]) -> Statistics:
        statistics = Statistics.of(values, names)
        if self.params.standardise:
            return statistics
        zero, none = np.zeros(len(names)), np.full(len(names), np.inf)
        return Statistics(names, zero, zero + 1, -none, none, statistics.flagged)
