"""Any GeoTIFF as a modality: statistics of its cells in every region."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from pydantic import Field, field_validator, model_validator

from urbankit.city.io.raster import cell_statistics, opened, raster_files
from urbankit.modalities.features import FeatureEncoder, FeatureParams
from urbankit.utils.errors import UserError

if TYPE_CHECKING:
    import pandas as pd

    from urbankit.city.city import City

Statistic = Literal["mean", "std", "min", "max", "valid"]

# The statistics by what exactextract calls them; `valid` comes with every reading.
OPERATIONS = {"mean": "mean", "std": "stdev", "min": "min", "max": "max"}


class Raster(FeatureEncoder):
    """Statistics of a raster's cells over every region, each cell weighted by its part within the region.

    The file and the regions may be in any CRS that they name: regions are taken to that of the raster. Cells are
    missing where the raster declares nodata or a mask, where they are NaN, infinite or one of `nodata`; a region
    without a valid cell lacks the modality. The intersection of cell and region is exact, so that regions may be
    smaller than a cell.
    """

    class Params(FeatureParams):
        file: str = Field(
            min_length=1,
            description="The GeoTIFF (or what else GDAL reads), relative to the folder of the city's sources, or an"
            " absolute path.",
        )
        bands: list[Annotated[int, Field(ge=1)]] | None = Field(
            None, min_length=1, description="Bands to read, counted from 1; the default is all."
        )
        statistics: list[Statistic] = Field(
            ["mean", "std", "valid"],
            description="Over a region's valid cells, by covered area: mean, standard deviation, extremes; and `valid`,"
            " the share, 0 to 1, of the region's area on such cells.",
        )
        quantiles: list[Annotated[float, Field(ge=0, le=1)]] = Field(
            [0.1, 0.5, 0.9], description="Quantiles of the cells, 0.5 being the median."
        )
        nodata: list[float] = Field(
            [],
            description="Values that stand for missing, as the file holds them before any scale, beside what the"
            " raster itself declares: many hold -9999 without saying so.",
        )
        scale: Literal["none", "log"] = Field(
            "none",
            description="`log` takes log(1 + x) of all statistics but `valid`, for cells of at least 0 that are spread"
            " over orders of magnitude, such as people or night light.",
        )

        @field_validator("bands", "statistics", "quantiles")
        @classmethod
        def _each_once(cls, values: list | None) -> list | None:
            if values is not None and len(set(values)) < len(values):
                raise ValueError(f"a value is given twice: {values}")
            return values

        @model_validator(mode="after")
        def _something(self) -> Raster.Params:
            if not (self.statistics or self.quantiles):
                raise ValueError("there is nothing to compute: name some `statistics` or `quantiles`")
            return self

    params: Params

    @classmethod
    def reads(cls, params: Any, city: City) -> list[Path]:
        return raster_files(_path(params.file, city))

    def features(self, city: City) -> tuple[np.ndarray, np.ndarray]:
        path, operations = _path(self.params.file, city), self._operations()
        tables = [
            cell_statistics(path, city.regions, operations, band, self.params.nodata) for band in self._bands(path)
        ]
        # Where no band has a cell there is no observation; where one lacks it, its numbers are missing.
        region = np.flatnonzero(np.any([table["valid"] > 0 for table in tables], axis=0))
        return np.hstack([self._scaled(table)[region] for table in tables]), region

    def names(self, city: City) -> list[str]:
        bands = self._bands(_path(self.params.file, city))
        return [f"band {band} {name}" for band in bands for name in self._columns()]

    def _bands(self, path: Path) -> list[int]:
        if self.params.bands is not None:
            return self.params.bands
        with opened(path) as dataset:
            return list(range(1, dataset.count + 1))

    def _operations(self) -> dict[str, str]:
        """What to compute of the cells, by column."""
        moments = {name: how for name, how in OPERATIONS.items() if name in self.params.statistics}
        return moments | {f"quantile {q}": f"quantile(q={q})" for q in self.params.quantiles}

    def _columns(self) -> list[str]:
        return [*self._operations(), *(["valid"] if "valid" in self.params.statistics else [])]

    def _scaled(self, table: pd.DataFrame) -> np.ndarray:
        """The columns of one band, float64 [N, columns], in the form that `scale` asks for."""
        cells = list(self._operations())
        if self.params.scale == "log" and cells:
            lowest = table[cells].min(axis=None)
            if lowest < 0:
                raise UserError(
                    f"modalities.{self.modality}: '{self.params.file}' has cells as low as {lowest:g}, of which `scale:"
                    " log` has no logarithm; take `scale: none`, or name the value in `nodata` if it stands for missing"
                )
            table = table.assign(**np.log1p(table[cells]))
        return table[self._columns()].to_numpy(np.float64)


def _path(file: str, city: City) -> Path:
    path = Path(file).expanduser()
    return path if path.is_absolute() else city.source(file)
