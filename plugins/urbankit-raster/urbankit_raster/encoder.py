"""A GeoTIFF as a modality: statistics of its cells in every region."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from pydantic import Field, field_validator, model_validator

from urbankit.city.io.access import NO_REFERENCES, Access
from urbankit.city.io.raster import cell_statistics
from urbankit.city.io.raster_file import open_raster, raster_files
from urbankit.modalities.features import FeatureEncoder, FeatureParams
from urbankit.registry.component import SourceFolder
from urbankit.utils.errors import UserError

if TYPE_CHECKING:
    import pandas as pd

    from urbankit.city.city import City

Statistic = Literal["mean", "std", "min", "max", "valid"]

# The names of the statistics in exactextract; `cell_statistics` always returns `valid`.
OPERATIONS = {"mean": "mean", "std": "stdev", "min": "min", "max": "max"}


class Raster(FeatureEncoder):
    """Statistics of a raster's cells in every region, each cell weighted by its share within the region.

    Regions are reprojected to the CRS of the raster. Cells are missing if the raster declares them as nodata or masks
    them, or if they are NaN, infinite or one of `nodata`. A region without a valid cell lacks the modality. The
    intersection of cell and region is exact, so regions may be smaller than a cell.
    """

    class Params(FeatureParams):
        file: str = Field(
            min_length=1,
            description="The GeoTIFF, or another raster that GDAL reads; relative to the folder of the city's sources,"
            " or absolute.",
        )
        bands: list[Annotated[int, Field(ge=1)]] | None = Field(
            None, min_length=1, description="Bands to read, counted from 1. Default: all."
        )
        statistics: list[Statistic] = Field(
            ["mean", "std", "valid"],
            description="Statistics of a region's valid cells, weighted by covered area. `valid` is the share (0 to 1)"
            " of the region's area on valid cells.",
        )
        quantiles: list[Annotated[float, Field(ge=0, le=1)]] = Field(
            [0.1, 0.5, 0.9], description="Quantiles of the cells; 0.5 is the median."
        )
        nodata: list[float] = Field(
            [],
            description="Further values of missing cells, as stored in the file, before any scale. Many rasters use"
            " -9999 without declaring it.",
        )
        scale: Literal["none", "log"] = Field(
            "none",
            description="`log` computes log(1 + x) of all statistics except `valid`; for non-negative cells that range"
            " over orders of magnitude, such as population or night light.",
        )

        @field_validator("bands", "statistics", "quantiles")
        @classmethod
        def _no_duplicates(cls, values: list[Any] | None) -> list[Any] | None:
            if values is not None and len(set(values)) < len(values):
                raise ValueError(f"duplicate values: {values}")
            return values

        @model_validator(mode="after")
        def _not_empty(self) -> Raster.Params:
            if not (self.statistics or self.quantiles):
                raise ValueError("nothing to compute; set `statistics` or `quantiles`")
            return self

    params: Params

    @classmethod
    def reads(cls, params: Any, city: SourceFolder) -> list[Path]:
        return raster_files(_path(params.file, city), _access(params.file, city))

    def features(self, city: City) -> tuple[np.ndarray, np.ndarray]:
        path, operations = _path(self.params.file, city), self._operations()
        access = _access(self.params.file, city)
        tables = [
            cell_statistics(path, city.regions, operations, band, self.params.nodata, access=access)
            for band in self._bands(path, city)
        ]
        # A region without a valid cell in any band has no observation; in one band, its numbers are NaN.
        region = np.flatnonzero(np.any([table["valid"] > 0 for table in tables], axis=0))
        return np.hstack([self._scaled(table)[region] for table in tables]), region

    def names(self, city: City) -> list[str]:
        bands = self._bands(_path(self.params.file, city), city)
        return [f"band {band} {name}" for band in bands for name in self._columns()]

    def _bands(self, path: Path, city: City) -> list[int]:
        if self.params.bands is not None:
            return self.params.bands
        with open_raster(path, access=_access(self.params.file, city)) as dataset:
            return list(range(1, dataset.count + 1))

    def _operations(self) -> dict[str, str]:
        """Return the operations of exactextract by column."""
        moments = {name: operation for name, operation in OPERATIONS.items() if name in self.params.statistics}
        return moments | {f"quantile {q}": f"quantile(q={q})" for q in self.params.quantiles}

    def _columns(self) -> list[str]:
        return [*self._operations(), *(["valid"] if "valid" in self.params.statistics else [])]

    def _scaled(self, table: pd.DataFrame) -> np.ndarray:
        """Return the columns of one band, float64 [N, columns], after `scale`."""
        columns = list(self._operations())
        if self.params.scale == "log" and columns:
            values = table[columns].to_numpy(np.float64)
            lowest = np.nanmin(values)
            if lowest < 0:
                raise UserError(
                    f"modalities.{self.modality}: '{self.params.file}' has negative cells, as low as {lowest:g}, which"
                    " `scale: log` cannot take; use `scale: none`, or add the value to `nodata` if it means missing"
                )
            table = table.assign(**dict(zip(columns, np.log1p(values).T, strict=True)))
        return table[self._columns()].to_numpy(np.float64)


def _access(file: str, city: SourceFolder) -> Access:
    """What the raster may refer to: files beside it, or, for one among the city's sources, what the city file says."""
    return NO_REFERENCES if Path(file).expanduser().is_absolute() else getattr(city, "access", NO_REFERENCES)


def _path(file: str, city: SourceFolder) -> Path:
    path = Path(file).expanduser()
    return path if path.is_absolute() else city.source(file)
