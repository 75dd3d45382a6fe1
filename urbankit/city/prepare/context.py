"""What the builders of all layers share: where sources and city are, the regions, and the form of a built layer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import geopandas as gpd
import pandas as pd
import polars as pl

from urbankit.city.files import CityFiles
from urbankit.city.ids import RegionIds
from urbankit.city.image_source import ImageSource
from urbankit.city.io.access import Access
from urbankit.city.manifest import Entry
from urbankit.city.points import NEEDS_GEOMETRY, PointIndex
from urbankit.city.prepare.staging import Staging
from urbankit.utils.errors import UserError
from urbankit.utils.parquet import write_parquet
from urbankit.utils.paths import data_paths
from urbankit.utils.progress import Progress


@dataclass
class Context:
    """What a layer is built from, besides its own part of the city spec.

    Attributes:
        data: The folder of the sources, which paths in the spec are relative to.
        out: The city's folder.
        progress: Shows long steps.
        built_regions: The regions, None until their layer is built; other builders read `regions`.
        image_entries: The manifest entry of each image layer that is prepared, by the name of the source.
        allow: What sources may refer to beyond the files in `data`, as the city file says.
    """

    data: Path
    out: Path
    progress: Progress = field(default_factory=lambda: Progress(quiet=True))
    built_regions: gpd.GeoDataFrame | None = None
    image_entries: dict[str, Entry] = field(default_factory=dict)
    allow: frozenset[str] = frozenset()

    @cached_property
    def staging(self) -> Staging:
        """The new files of the city, before they replace others."""
        return Staging(self.out)

    @property
    def regions(self) -> gpd.GeoDataFrame:
        """The city's regions in a projected CRS, as `City.regions`."""
        assert self.built_regions is not None, "the regions are the first layer"
        return self.built_regions

    @property
    def has_geometry(self) -> bool:
        """Whether the regions have polygons."""
        return self.regions.crs is not None

    @cached_property
    def ids(self) -> RegionIds:
        """Looks regions up by their id."""
        return RegionIds(self.regions["region_id"].tolist())

    @cached_property
    def point_index(self) -> PointIndex:
        """Looks regions up by longitude and latitude. Raises `UserError` if the regions have no geometry."""
        if not self.has_geometry:
            raise UserError(NEEDS_GEOMETRY)
        return PointIndex(self.regions)

    @property
    def access(self) -> Access:
        """What the sources may refer to."""
        return Access(self.data, self.allow)

    def path(self, name: str, key: str | None = None) -> Path:
        """A source file. Raises `UserError` if its path leaves the data folder."""
        return self.paths([name], key)[0]

    def paths(self, names: Sequence[str], key: str | None = None, file: Path | None = None) -> list[Path]:
        """Source files; `key` and `file` say where they are named. Raises `UserError` as `path`."""
        return data_paths(self.data, names, key, file, outside="outside" in self.allow)

    def image_source(self, name: str) -> ImageSource:
        """The prepared images of one source."""
        entry = self.image_entries[name]
        return ImageSource.open(CityFiles(self.out, entry["checks"]), entry["image"])


@dataclass
class Built:
    """A layer in memory.

    Attributes:
        tables: The tables to write, by their path in the city folder.
        entry: What the manifest records of the layer besides its hash, files and report.
        files: Paths in the city folder of files that the builder wrote itself.
        digest: The content hash, if it is not that of the bytes of the files.
    """

    tables: dict[str, gpd.GeoDataFrame | pd.DataFrame | pl.DataFrame] = field(default_factory=dict)
    entry: dict[str, Any] = field(default_factory=dict)
    files: list[str] = field(default_factory=list)
    digest: str | None = None

    def write(self, staging: Staging) -> None:
        """Write the tables beside the files that they will replace."""
        for name, table in self.tables.items():
            if isinstance(table, gpd.GeoDataFrame):
                table.to_parquet(staging.new(name))
            else:
                write_parquet(table, staging.new(name))
