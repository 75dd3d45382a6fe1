"""A prepared city: its regions and all data on them, in numpy, scipy and pandas."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import geopandas as gpd
import numpy as np
import pandas as pd
import scipy.sparse

from urbankit.city.files import CityFiles
from urbankit.city.image_source import ImageSource
from urbankit.city.io.access import Access
from urbankit.city.manifest import FORMAT, Entry, all_checks, read_manifest
from urbankit.city.points import NO_GEOMETRY
from urbankit.city.report import PrepareReport, SourceReport
from urbankit.city.sources import Sources
from urbankit.city.target import Target, described, target_values
from urbankit.utils.base_map import FILE
from urbankit.utils.errors import Problem, UserError, suggest
from urbankit.utils.files import hash_json
from urbankit.utils.geometry import true_metres
from urbankit.utils.html import facts
from urbankit.utils.parquet import valid_text

if TYPE_CHECKING:
    from typing_extensions import Self


class City:
    """A prepared city with N regions; a region's index is its row in `regions`.

    A missing value is NaN or None, or has no row; it is never filled in.

    >>> city = City.open("prepared/my-city")

    Attributes:
        path: The city's folder.
        manifest: The content of its manifest.json.
        name: The city's name.
        crs: The projected CRS, in metres, of `regions` and `xy`; empty if the regions have no geometry.
        content_hash: Changes with any data of the city.

    Methods raise `UserError` for the name of a source, table or target that the city lacks, and for damaged files.
    """

    def __init__(self, path: Path, manifest: dict[str, Any]) -> None:
        self.path, self.manifest = path, manifest
        self.name: str = manifest["name"]
        self.crs: str = manifest["crs"] or ""
        self.content_hash: str = manifest["content_hash"]
        self._layers: dict[str, Entry] = manifest["parts"]
        self._files = CityFiles(path, all_checks(manifest))
        self._bands: dict[str, list[int]] = {}

    @classmethod
    def open(cls, path: str | Path) -> Self:
        """Open a prepared city.

        Args:
            path: Its folder.

        Raises:
            UserError: If the folder is not a city that this version of urbankit prepared completely.
        """
        path = Path(path)
        manifest = read_manifest(path)
        if not manifest.get("complete"):
            raise UserError(Problem("was not prepared completely; run the same `urbankit prepare` again", path))
        if manifest.get("format") != FORMAT:
            raise UserError(Problem("was prepared by another version of urbankit; prepare it again", path))
        return cls(path, manifest)

    def check(self) -> None:
        """Compare every file with the size and SHA-256 that `prepare` recorded.

        An open city keeps the files that it was opened with: files that are replaced later are not read.

        Raises:
            UserError: With each file that is damaged or missing.
        """
        if problems := self._files.damaged():
            raise UserError(problems)

    def __repr__(self) -> str:
        return f"City({self.name!r}, {self.n_regions} regions, {self.path})"

    def _repr_html_(self) -> str:
        """Return the HTML that a notebook shows: the size of the city and the names of its data."""
        layers: dict[str, list[str]] = {
            "images": self.image_sources,
            "captions": self.caption_sources,
            "points of interest and flows": [name for name in ("poi", "flows") if name in self._layers],
            "tables": self.tables,
            "targets": self.target_names,
        }
        size = [("regions", f"{self.n_regions:,}"), ("CRS", self.manifest["crs"]), ("folder", self.path)]
        return facts(f"City {self.name}", [*size, *((kind, ", ".join(names)) for kind, names in layers.items())])

    def source(self, name: str) -> Path:
        """Return the path of a file or folder among the city's sources, for components that read further files.

        Args:
            name: Its path relative to that folder.

        Raises:
            UserError: If the file is missing or its path leaves the folder.
        """
        return self._sources.source(name)

    @property
    def access(self) -> Access:
        """What the city's sources may refer to, as its city file says."""
        return self._sources.access

    @property
    def _sources(self) -> Sources:
        folder = self.manifest.get("sources")
        allow = self.manifest.get("spec", {}).get("allow", [])
        return Sources(self.path, None if folder is None else Path(folder), frozenset(allow))

    @property
    def n_regions(self) -> int:
        """The number of regions, N."""
        return int(self.manifest["regions"])

    @property
    def members(self) -> dict[str, City]:
        """The cities by name that this one joins (`JoinedCity`); a city of its own is its only member."""
        return {self.name: self}

    @property
    def sizes(self) -> list[int]:
        """The number of regions of each of `members`."""
        return [city.n_regions for city in self.members.values()]

    @cached_property
    def member(self) -> np.ndarray:
        """The position in `members` of the city that each region belongs to, int64[N]."""
        return np.repeat(np.arange(len(self.members)), self.sizes)

    @cached_property
    def regions(self) -> gpd.GeoDataFrame:
        """The N regions in `crs`.

        Columns: `region_id`, `area_km2`, centroids `lon`, `lat` (degrees) and `x`, `y` (metres), `geometry`.
        """
        with self._reading("regions.parquet") as content:
            regions = gpd.read_parquet(valid_text(content))
            if len(regions) != self.n_regions:
                raise ValueError(f"{len(regions)} regions, {self.n_regions} in the manifest")
            return regions

    @cached_property
    def region_ids(self) -> list[str]:
        """The N region ids, as text."""
        return self.regions["region_id"].tolist()

    @property
    def has_geometry(self) -> bool:
        """Whether the regions have polygons; without them `lonlat`, `xy` and `area_km2` raise `UserError`."""
        return bool(self.crs)

    @cached_property
    def lonlat(self) -> np.ndarray:
        """Centroids, float64[N, 2] in degrees (WGS 84), longitude first."""
        self.need_geometry()
        return self.regions[["lon", "lat"]].to_numpy(np.float64)

    @cached_property
    def xy(self) -> np.ndarray:
        """Centroids, float64[N, 2] in metres: `x` and `y` of `regions`.

        If lengths in the city's CRS are wrong by more than 1 %, as in EPSG:3857, the coordinates are those of a
        projection around the city with correct lengths.
        """
        self.need_geometry()
        return true_metres(self.regions[["x", "y"]].to_numpy(np.float64), self.regions.crs)

    @cached_property
    def area_km2(self) -> np.ndarray:
        """Areas on the ellipsoid, float64[N] in km²."""
        self.need_geometry()
        return self.regions["area_km2"].to_numpy(np.float64)

    def need_geometry(self) -> None:
        """Raise `UserError` if the regions have no geometry."""
        if not self.has_geometry:
            message = f"the regions of '{self.name}' {NO_GEOMETRY}, which coordinates, areas and maps need"
            raise UserError(Problem(f"{message}; give polygons as `regions` in the city file", self.path))

    @property
    def image_sources(self) -> list[str]:
        """Names of the image sources, such as `rsi` and `svi`."""
        return self._names("images")

    @property
    def overhead_sources(self) -> list[str]:
        """Names of the image sources with one image for each region, such as satellite tiles."""
        return [name for name in self.image_sources if "points" not in self.manifest["spec"]["images"][name]]

    def images(self, name: str) -> ImageSource:
        """The images of one source."""
        entry = self._layer("images", name, "image source")
        images = ImageSource.open(self._files, entry["image"])
        return images.with_bands(self._bands[name]) if name in self._bands else images

    def with_bands(self, bands: Mapping[str, Sequence[int]]) -> City:
        """The same city with some bands of its images, in another order: positions of bands by image source."""
        city = copy.copy(self)
        orders = {name: self._bands.get(name) or range(self.images(name).bands) for name in bands}
        city._bands = self._bands | {name: [orders[name][i] for i in order] for name, order in bands.items()}
        city.content_hash = hash_json([self.content_hash, city._bands])
        return city

    @property
    def caption_sources(self) -> list[str]:
        """Names of the image sources that have captions."""
        return self._names("captions")

    def captions(self, source: str | None = None) -> pd.DataFrame:
        """Captions by region, then by image.

        Args:
            source: The image source that they describe; None for those of all, one source after the other.

        Returns:
            Columns `region` (int64), `image` (int64, row in that image source, or -1) and `text`.
        """
        if source is not None:
            [file] = self._layer("captions", source, "caption source")["files"]
            return self._table(file)
        empty = pd.DataFrame(
            {"region": np.zeros(0, np.int64), "image": np.zeros(0, np.int64), "text": np.zeros(0, str)}
        )
        tables = [self.captions(name) for name in self.caption_sources]
        return pd.concat(tables, ignore_index=True) if tables else empty

    def poi_counts(self) -> tuple[scipy.sparse.csr_array, list[str]] | None:
        """Points of interest by region and category.

        Returns:
            Counts, float64 csr [N, C], and the names of the C categories; None in a city without points of interest.
        """
        if "poi" not in self._layers:
            return None
        categories = self._layers["poi"]["categories"]
        with self._reading_table("poi.parquet") as points:
            table = points.dropna(subset="category")
            column = table["category"].map({name: i for i, name in enumerate(categories)}).to_numpy(np.int64)
            entries = (table["count"].to_numpy(np.float64), (table["region"].to_numpy(), column))
            return scipy.sparse.csr_array(entries, shape=(self.n_regions, len(categories))), categories

    @cached_property
    def poi_present(self) -> np.ndarray:
        """bool[N]: regions with a row of counts, even of zeros, or with any point of interest."""
        present = np.zeros(self.n_regions, bool)
        if "poi" in self._layers:
            with self._reading_table("poi.parquet") as table:
                present[table["region"].to_numpy()] = True
        return present

    def flows(self) -> scipy.sparse.csr_array | None:
        """Flows, float64 csr [N, N], row = origin, column = destination; None in a city without flows."""
        if "flows" not in self._layers:
            return None
        with self._reading_table("flows.parquet") as table:
            entries = (table["weight"].to_numpy(), (table["origin"].to_numpy(), table["destination"].to_numpy()))
            return scipy.sparse.csr_array(entries, shape=(self.n_regions, self.n_regions))

    def flow_times(self) -> pd.DataFrame | None:
        """Flows by hour of the week.

        Returns:
            Columns `origin`, `destination`, `weekday` (0 is Monday), `hour` (0 to 23) and `weight`; None if flows have
            no times.
        """
        if "flow_times.parquet" not in self._layers.get("flows", {}).get("files", []):
            return None
        return self._table("flow_times.parquet")

    def base_map(self) -> tuple[gpd.GeoDataFrame, str] | None:
        """Water, main roads and places for maps.

        Returns:
            Columns `kind` (`water`, a class of roads or of places), `name` and `geometry` in `crs`, places by
            importance, and who made the data; None in a city without a base map.
        """
        if "base_map" not in self._layers:
            return None
        with self._reading(FILE) as content:
            return gpd.read_parquet(valid_text(content)), str(self._layers["base_map"].get("credit", ""))

    @property
    def tables(self) -> list[str]:
        """Names of the tables of numbers by region."""
        return self._names("tables")

    def table(self, name: str) -> tuple[np.ndarray, list[str]]:
        """The values of one table, float64[N, F], NaN missing, and the F column names."""
        columns = self._layer("tables", name, "table")["columns"]
        with self._reading_table(f"tables/{name}.parquet") as table:
            return table[columns].to_numpy(np.float64), columns

    @property
    def target_names(self) -> list[str]:
        """Names of the targets."""
        return self._names("targets")

    def unlabelled(self) -> City:
        """The same city without targets, which modality encoders, views and methods get: `target` raises an error."""
        city = object.__new__(_UnlabelledCity)
        city.__dict__ = self.__dict__  # both keep what either reads
        return city

    def target(self, name: str) -> Target:
        """One target, with its values by region."""
        entry = self._layer("targets", name, "target")
        table, parts = self._table(f"targets/{name}.parquet"), tuple(entry.get("parts", ()))
        values = target_values(table, entry["kind"], parts)
        target = Target(name, entry["kind"], values, entry["unit"], parts=parts)
        return described(target, self.manifest.get("spec", {}))

    def coverage(self) -> pd.DataFrame:
        """The number and share (0 to 1) of regions that have each dataset: `kind`, `name`, `regions` and `share`."""
        return pd.DataFrame(self.report.coverage(), columns=["kind", "name", "regions", "share"])

    @cached_property
    def report(self) -> PrepareReport:
        """The report of `prepare`; `city.report.print()` shows it."""
        sources = [SourceReport.from_json(entry["report"]) for entry in self._layers.values()]
        return PrepareReport(self.name, self.n_regions, sources, list(self.manifest.get("without_modality", [])))

    def any_modality(self) -> np.ndarray | None:
        """bool[N]: regions with any image, caption, count, flow or table; None in a city without all of them."""
        if not any(key.split(".")[0] in ("images", "captions", "poi", "flows", "tables") for key in self._layers):
            return None
        present = self.poi_present.copy()
        for name in self.image_sources:
            present[self.images(name).region] = True
        for name in self.caption_sources:
            present[self.captions(name)["region"].to_numpy()] = True
        if "flows" in self._layers:
            pairs = self._table("flows.parquet")
            present[pairs["origin"].to_numpy()] = present[pairs["destination"].to_numpy()] = True
        for name in self.tables:
            present |= np.isfinite(self.table(name)[0]).any(1)
        return present

    def layer_hashes(self, *kinds: str) -> dict[str, str]:
        """The content hash of each layer of these kinds, such as `poi`, `tables` (all of them) or `images.rsi`."""
        return {key: entry["hash"] for key, entry in self._layers.items() if {key, key.split(".", 1)[0]} & set(kinds)}

    def _names(self, kind: str) -> list[str]:
        return [key.split(".", 1)[1] for key in self._layers if key.startswith(f"{kind}.")]

    def _layer(self, kind: str, name: str, description: str) -> Entry:
        if f"{kind}.{name}" not in self._layers:
            names = self._names(kind)
            hint = suggest(name, names) if names else f" It has no {description}."
            raise UserError(Problem(f"the city '{self.name}' has no {description} '{name}'.{hint}", self.path))
        return self._layers[f"{kind}.{name}"]

    def _table(self, name: str) -> pd.DataFrame:
        with self._reading_table(name) as table:
            return table

    @contextmanager
    def _reading_table(self, name: str) -> Iterator[pd.DataFrame]:
        """A table of the city; errors while it is read or used become a `UserError`."""
        with self._reading(name) as content:
            yield pd.read_parquet(valid_text(content))

    @contextmanager
    def _reading(self, name: str) -> Iterator[BytesIO]:
        """The content of a file of the city; errors while it is parsed become a `UserError`."""
        content = self._files.read(name)
        try:
            yield content
        except (OSError, ValueError, LookupError, TypeError) as error:
            message = f"cannot be read ({error}); prepare the city again"
            raise UserError(Problem(message, self.path / name)) from None


class _UnlabelledCity(City):
    """A city whose targets cannot be read."""

    def target(self, name: str) -> Target:
        message = f"a modality encoder, view or method reads the target '{name}'. Its labels would leak"
        raise UserError(f"{message} into the embedding; use other data of the city")
