"""Places of Overture Maps as points of interest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import polars as pl
import shapely
from pydantic import Field

from urbankit.city.datasets.base import AnyLayer, DataFolder, Dataset, DatasetParams, PoiPoints, Regions
from urbankit.city.io.tables import readable
from urbankit.city.points import usable
from urbankit.utils.errors import Problem, UserError
from urbankit.utils.text import list_some

OTHER = "other"


class OvertureParams(DatasetParams):
    """The file of places, and how its categories are read."""

    file: str = Field(description="GeoParquet with the theme `places`, such as `overturemaps download` writes.")
    category: str = Field(
        "categories.primary",
        description="The field with the category; `basic_category` or `taxonomy.primary` in later releases.",
    )
    confidence: float = Field(0.0, ge=0, le=1, description="Places of a lower confidence are left out.")
    most: int = Field(100, ge=1, le=10_000, description="Most categories; places of the rarer ones become `other`.")


class Overture(Dataset[OvertureParams]):
    """Points of interest from the places of a release of Overture Maps."""

    params: OvertureParams

    def files(self, data: DataFolder) -> Sequence[Path]:
        return [data.file(self.params.file, "overture.file")]

    def provides(self, data: DataFolder) -> Sequence[str]:
        return ["poi"]

    def read(self, data: DataFolder, regions: Regions) -> Mapping[str, AnyLayer]:
        path = self.files(data)[0]
        with readable(path, "overture"):
            places = self._places(path)
        category = places["category"]
        lon, lat = _lonlat(places["geometry"])
        dropped: dict[str, int] = {}
        if self.params.confidence:
            low = (places["confidence"] < self.params.confidence).fill_null(True).to_numpy()
            lon, lat, category = lon[~low], lat[~low], category.filter(pl.Series(~low))
            dropped["of a low confidence"] = int(low.sum())
        frequent = self._frequent(category, regions, lon, lat)
        rare = category.is_not_null() & ~category.is_in(frequent)
        category = pl.select(pl.when(rare).then(pl.lit(OTHER)).otherwise(category)).to_series()
        notes = [f"categories beyond the {self.params.most} most frequent became '{OTHER}'"] if rare.any() else []
        return {"poi": PoiPoints(lon, lat, category, rows=len(places), dropped=dropped, notes=notes)}

    def _frequent(self, category: pl.Series, regions: Regions, lon: np.ndarray, lat: np.ndarray) -> list[str]:
        """Return the most frequent categories in the regions; of equally frequent ones the first by name."""
        row, _ = regions.points.pairs(lon, lat)
        counts = category.gather(np.unique(row)).drop_nulls().alias("name").value_counts()
        return counts.sort(["count", "name"], descending=[True, False])["name"].head(self.params.most).to_list()

    def _places(self, path: Path) -> pl.DataFrame:
        """Return `category`, `geometry` and `confidence` of all places."""
        table = pl.scan_parquet(path)
        schema = table.collect_schema()
        column, _, inner = self.params.category.partition(".")
        options = _text_fields(schema)
        if self.params.category not in options:
            likely = [name for name in options if "categor" in name or "taxonomy" in name]
            if likely:
                hint = f"this release has {', '.join(likely)}: name one by `category`"
            else:
                hint = f"its columns are {list_some(schema.names(), 12)}: is it the theme places?"
            raise UserError(Problem(f"has no field '{self.params.category}' of text; {hint}", path))
        absent = [name for name in ("geometry", "confidence") if name not in schema]
        if "geometry" in absent or (absent and self.params.confidence):
            raise UserError(Problem(f"has no column {', '.join(absent)}; is it the theme places?", path))
        category = pl.col(column).struct.field(inner) if inner else pl.col(column)
        confidence = pl.lit(None, pl.Float64) if absent else pl.col("confidence").cast(pl.Float64)
        return table.select(category=category.cast(pl.String), geometry="geometry", confidence=confidence).collect()


def _text_fields(schema: pl.Schema) -> list[str]:
    """Return the names of the columns of text, and of fields of text in structures as `column.field`."""
    names = []
    for name, kind in schema.items():
        if isinstance(kind, pl.Struct):
            names += [f"{name}.{inner.name}" for inner in kind.fields if inner.dtype == pl.String]
        elif kind == pl.String or isinstance(kind, pl.Categorical):
            names.append(name)
    return names


def _lonlat(geometry: pl.Series) -> tuple[np.ndarray, np.ndarray]:
    """Return the coordinates of points in WKB or as a structure of x and y, NaN where there is none."""
    if isinstance(geometry.dtype, pl.Struct):
        x, y = (geometry.struct.field(name).cast(pl.Float64).fill_null(np.nan).to_numpy() for name in ("x", "y"))
        return usable(x, y)
    if geometry.dtype != pl.Binary:
        raise UserError(f"its geometry is {geometry.dtype}, not WKB or points")
    shapes = shapely.from_wkb(geometry.to_numpy(), on_invalid="ignore")
    points = shapely.get_type_id(shapes) == 0
    x, y = np.full(len(shapes), np.nan), np.full(len(shapes), np.nan)
    x[points], y[points] = shapely.get_x(shapes[points]), shapely.get_y(shapes[points])
    return usable(x, y)
