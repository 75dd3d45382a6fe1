"""The key `base_map` of a city file: water, main roads and names of places that maps show."""

from __future__ import annotations

from typing import Any

from pydantic import Field, model_validator

from urbankit.city.spec_base import PointFile, Spec, VectorKeys


def _expanded(value: Any) -> Any:
    """Return the keys of a source of which only the file is given: `water: water.gpkg`."""
    return {"file": value} if isinstance(value, str) else value


class ShapeFile(VectorKeys):
    """Polygons of water, or lines of main roads."""

    file: str = Field(description="GeoPackage, Shapefile, GeoJSON, FlatGeobuf or GeoParquet.")

    expand = model_validator(mode="before")(_expanded)


class PlaceFile(PointFile):
    """Points with names."""

    file: str = Field(description="Points: GeoPackage, Shapefile, GeoJSON, GeoParquet, or a table with lon and lat.")
    name: str = Field("name", description="Column with the name.")
    place: str = Field("place", description="Column with the kind: city, town, suburb, quarter or neighbourhood.")

    expand = model_validator(mode="before")(_expanded)


class BaseMapSpec(Spec):
    """What the map of the report shows besides the regions; no number depends on it."""

    water: ShapeFile | None = Field(None, description="Polygons of water.")
    roads: ShapeFile | None = Field(None, description="Lines of main roads.")
    places: PlaceFile | None = Field(None, description="Points with the names of places.")
    credit: str = Field("", max_length=200, description="Who made the data, which the page names below the map.")

    @model_validator(mode="after")
    def check_any(self) -> BaseMapSpec:
        if not (self.water or self.roads or self.places):
            raise ValueError("needs one of the keys water, roads, places")
        return self
