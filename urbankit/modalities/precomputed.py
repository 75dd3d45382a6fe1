"""Features computed elsewhere as a modality: any table of embeddings by region, a raster, or encoded files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BeforeValidator, Field

from urbankit.city.city import City
from urbankit.city.io.codes import Codes
from urbankit.modalities.embeddings.read import embedding_files, read_embeddings
from urbankit.modalities.embeddings.rules import EmbeddingTable, Rules
from urbankit.modalities.features import FeatureEncoder, FeatureParams
from urbankit.modalities.standardise import Statistics
from urbankit.registry.component import SourceFolder
from urbankit.utils.errors import Problems, UserError


def _text(value: Any) -> Any:
    return str(value) if isinstance(value, Path) else value


class Precomputed(FeatureEncoder):
    """Vectors of the regions from a file: a table (CSV, JSONL, Parquet), a GeoTIFF, or files of `urbankit encode`.

    A table has one row for each region, with its id and either numeric columns or one column of lists. A table without
    ids, but with geometries, is averaged over those in the region. For rasters and tiles, the vector is the mean of the
    cells in the region; each is weighted by its share in it. For encoded files, the vector is the mean over all
    observations, and regions without an observation are absent.

    Wrong ids, cells and vectors are one `UserError` that names all of them. A row without any number does not cover its
    region, nor does a raster without a valid cell in it.
    """

    class Params(FeatureParams):
        file: Annotated[str, BeforeValidator(_text)] = Field(
            min_length=1,
            json_schema_extra={"local_path": True},
            description="The table (.csv, .tsv, .jsonl, .parquet), raster (.tif, .vrt), tile (.npy), folder of tiles, "
            "or file or folder that `urbankit encode` wrote; relative to the recipe, or to the city's sources.",
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
            "numbers as they are. `auto` decodes columns and bands A00 to A63 that hold codes, and refuses others that "
            "look so.",
        )
        year: int | None = Field(
            None,
            ge=1900,
            le=2100,
            description="The year, if a folder has tiles, or a table rows or columns, of several years.",
        )
        prefix: str | None = Field(
            None,
            min_length=1,
            description="The text before the ids of the city, such as `geoId/`. Default: the prefix without which ids "
            "match, if none matches as it is.",
        )
        standardise: bool = Field(
            True, description="Standardise every number over the regions; false leaves them unchanged."
        )

    params: Params
    free_in_transfer = FeatureEncoder.free_in_transfer | {"file", "region", "codes", "year", "prefix"}

    @classmethod
    def reads(cls, params: Any, city: SourceFolder) -> Sequence[Path]:
        return embedding_files(_path(params.file, city), params.year)

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
            absent, unknown = params.absent == "mask", params.unknown == "drop"
            rules = Rules(params.region, params.columns, absent, unknown, params.codes, params.year, params.prefix)
            self._table = read_embeddings(self._file(city), city, rules, f"modalities.{self.modality}")
            self.notes = self._table.notes
        return self._table

    def _file(self, city: City) -> Path:
        problems = Problems()
        with problems.collect(f"modalities.{self.modality}.file"):
            return _path(self.params.file, city)
        raise UserError(problems)

    def describe(self, values: np.ndarray, names: list[str]) -> Statistics:
        statistics = Statistics.of(values, names)
        if self.params.standardise:
            return statistics
        zero, none = np.zeros(len(names)), np.full(len(names), np.inf)
        return Statistics(names, zero, zero + 1, -none, none, statistics.flagged)


def _path(file: str, city: SourceFolder) -> Path:
    """Return the path of a file or folder, which may be among the sources of the city."""
    path = Path(file).expanduser()
    if path.is_absolute() or path.exists():
        return path
    try:
        return city.source(file)
    except UserError as error:
        message = f"there is no '{file}' beside the recipe, and among the sources of the city"
        raise UserError(
            replace(problem, message=f"{message}: {problem.message}") for problem in error.problems
        ) from None
