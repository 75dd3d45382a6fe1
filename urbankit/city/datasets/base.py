"""The base class of datasets: files of one origin that hold several layers of a city."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeAlias

import geopandas as gpd
import numpy as np
import polars as pl
from pydantic import model_validator
from typing_extensions import TypeVar

from urbankit.city.points import NEEDS_GEOMETRY, PointIndex
from urbankit.registry.component import Component, Params
from urbankit.utils.errors import Problem, UserError
from urbankit.utils.paths import data_paths, explain_missing


class DatasetParams(Params):
    """The keys of a dataset in a city file.

    Attributes:
        short: The key that the value belongs to if it is a text: `osm: city.osm.pbf` means `osm: {file: city.osm.pbf}`.
    """

    short: ClassVar[str] = "file"

    @model_validator(mode="before")
    @classmethod
    def expand(cls, value: Any) -> Any:
        """Return the keys of the dataset if only the value of `short` is given."""
        return {cls.short: value} if isinstance(value, str) else value


D = TypeVar("D", bound=DatasetParams, default=DatasetParams)


@dataclass(frozen=True)
class DataFolder:
    """The folder of the sources, as far as a city file may read it.

    Attributes:
        folder: The folder, which paths in the city file are relative to.
        outside: Whether files outside the folder may be read (`allow: [outside]`).
    """

    folder: Path
    outside: bool = False

    def file(self, name: str, key: str) -> Path:
        """Return the path of a file.

        Args:
            name: Its path relative to the folder.
            key: The key of the city file that names it, such as `osm.file`.

        Raises:
            UserError: If the file is missing or empty, or its path leaves the folder.
        """
        path = self._path(name, key)
        if not path.is_file():
            raise UserError(Problem(explain_missing(path), path, key=key))
        if not path.stat().st_size:
            raise UserError(Problem("is empty", path, key=key))
        return path

    def files(self, name: str, names: Sequence[str], key: str) -> dict[str, Path]:
        """Return those of the files `names` that the folder `name` has, by name. Raises `UserError` as `file` does."""
        path = self._path(name, key)
        if not path.is_dir():
            reason = "is a file; name the folder that holds it" if path.is_file() else "there is no such folder"
            raise UserError(Problem(reason, path, key=key))
        return {file: self.file(f"{name}/{file}", key) for file in names if (path / file).is_file()}

    def _path(self, name: str, key: str) -> Path:
        return data_paths(self.folder, [name], key, outside=self.outside)[0]


@dataclass(frozen=True)
class Regions:
    """The regions of the city that is prepared.

    Attributes:
        frame: `City.regions`: `region_id`, `area_km2`, `lon`, `lat`, `x`, `y` and `geometry` in a projected CRS.
        index: What `points` returns; None if the regions have no geometry.
    """

    frame: gpd.GeoDataFrame
    index: PointIndex | None

    @property
    def points(self) -> PointIndex:
        """Finds the regions that contain points. Raises `UserError` if the regions have no geometry."""
        if self.index is None:
            raise UserError(NEEDS_GEOMETRY)
        return self.index

    def __len__(self) -> int:
        return len(self.frame)


@dataclass
class Layer:
    """What a dataset says about one layer of the city, for the report of `prepare`.

    Attributes:
        notes: Sentences for the user on what looks wrong.
        rows: How many rows or objects were read.
        dropped: How many of them were dropped, by reason.
    """

    notes: list[str] = field(default_factory=list, kw_only=True)
    rows: int = field(default=0, kw_only=True)
    dropped: dict[str, int] = field(default_factory=dict, kw_only=True)


@dataclass
class PoiPoints(Layer):
    """Points of interest: `lon`, `lat` float64[n] in degrees, and the `category` of each, null if it has none.

    `categories` are the names of all categories, of which some may have no point; None takes those that occur.
    `present`, bool[N], are the regions that the files cover, also without a point; None takes those with a point.
    """

    lon: np.ndarray
    lat: np.ndarray
    category: pl.Series
    categories: Sequence[str] | None = None
    present: np.ndarray | None = None


@dataclass
class PoiCounts(Layer):
    """Points of interest counted by region and category: float64[N, C], and the C names."""

    counts: np.ndarray
    categories: Sequence[str]


@dataclass
class Flows(Layer):
    """Flows between regions: columns `origin` and `destination` (rows of regions) and `weight`.

    `hours` has also `weekday` (0 is Monday) and `hour` (0 to 23); None if the flows have no times.
    """

    pairs: pl.DataFrame
    hours: pl.DataFrame | None = None


@dataclass
class Table(Layer):
    """Numbers by region: float64[N, F], NaN missing, and the F names."""

    values: np.ndarray
    columns: Sequence[str]


@dataclass
class TargetValues(Layer):
    """A target: float64[N], NaN missing, for regression; object[N] of text, None missing, for classification."""

    values: np.ndarray
    kind: Literal["regression", "classification"] = "regression"
    unit: str = ""


@dataclass
class BaseMap(Layer):
    """Water, main roads and places for maps, as `base_map_frame` makes them, those of one kind in order of importance.

    `credit` names who made the data.
    """

    frame: gpd.GeoDataFrame
    credit: str = ""


AnyLayer: TypeAlias = PoiPoints | PoiCounts | Flows | Table | TargetValues | BaseMap


class Dataset(Component[D], ABC):
    """Reads files of one origin that hold several layers of a city: `osm: city.osm.pbf`.

    The name under which a dataset is registered is its key in city files. An error that a method raises is reported
    with the key; a `UserError` keeps its message.
    """

    Params: ClassVar[type[Any]] = DatasetParams

    def __init__(self, params: D) -> None:
        self.params = params

    @abstractmethod
    def files(self, data: DataFolder) -> Sequence[Path]:
        """Return the files that are read; a change of any of them prepares the layers again.

        Raises:
            UserError: If one is missing.
        """

    def region_ids(self, data: DataFolder) -> Sequence[str] | None:
        """Return the ids of the regions of a city file without `regions`; None if the files do not say them.

        Raises:
            UserError: With what is wrong with the files.
        """
        return None

    @abstractmethod
    def provides(self, data: DataFolder) -> Sequence[str]:
        """Return the layers that `read` returns: `poi`, `flows`, `base_map`, `tables.NAME` or `targets.NAME`."""

    @abstractmethod
    def read(self, data: DataFolder, regions: Regions) -> Mapping[str, AnyLayer]:
        """Return the layers by the names of `provides`.

        Args:
            data: The folder of the sources.
            regions: The regions of the city.

        Raises:
            UserError: With what is wrong with the files.
        """
