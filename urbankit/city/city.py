"""A prepared city: everything known about its regions, in numpy, scipy and pandas."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import geopandas as gpd
import numpy as np
import pandas as pd
import scipy.sparse

from urbankit.city.image_source import ImageSource
from urbankit.city.manifest import FORMAT, read_manifest
from urbankit.city.report import PrepareReport
from urbankit.utils.errors import Problem, UserError, suggest
from urbankit.utils.paths import explain_missing, resolve_inside


class City:
    """A prepared city with N regions; a region's index is its row in `regions`. Missing is NaN, None, or no row.

    >>> city = City.open("prepared/my-city")

    Raises `UserError` for a folder that is no complete city, and for names of sources and targets that it lacks.
    """

    def __init__(self, path: Path, manifest: dict[str, Any]) -> None:
        self.path, self.manifest = path, manifest
        self.name: str = manifest["name"]
        self.crs: str = manifest["crs"]
        self.content_hash: str = manifest["content_hash"]
        self._parts: dict[str, dict[str, Any]] = manifest["parts"]

    @classmethod
    def open(cls, path: str | Path) -> City:
        path = Path(path)
        manifest = read_manifest(path)
        if not manifest.get("complete"):
            raise UserError(Problem("was not prepared to the end; give the same `urbankit prepare` again", path))
        if manifest.get("format") != FORMAT:
            raise UserError(Problem("was prepared by another version of urbankit; prepare it again", path))
        return cls(path, manifest)

    def __repr__(self) -> str:
        return f"City({self.name!r}, {self.n_regions} regions, {self.path})"

    def source(self, name: str) -> Path:
        """A file beside the city's sources, by its path relative to the folder that they were in when it was prepared.

        For encoders and views that read a file which no part of the city is made of. Raises `UserError` where it is not
        there, or where the path leaves the folder.
        """
        folder = self.manifest.get("sources")
        if folder is None:
            raise UserError(Problem(f"does not say where its sources are ('{name}'); prepare it again", self.path))
        path = resolve_inside(Path(folder), name)
        if path is None:
            raise UserError(f"the path '{name}' leaves the folder of the city's sources, {folder}; put the file in it")
        if not path.is_file():
            raise UserError(Problem(explain_missing(path), path))
        return path

    @property
    def n_regions(self) -> int:
        return int(self.manifest["regions"])

    @cached_property
    def regions(self) -> gpd.GeoDataFrame:
        """`region_id`, `area_km2`, centroids `lon`, `lat` (degrees) and `x`, `y` (metres), `geometry`."""
        with self._reading("regions.parquet") as path:
            return gpd.read_parquet(path)

    @cached_property
    def region_ids(self) -> list[str]:
        return self.regions["region_id"].tolist()

    @cached_property
    def lonlat(self) -> np.ndarray:
        """Centroids, float64[N, 2] in degrees."""
        return self.regions[["lon", "lat"]].to_numpy(np.float64)

    @cached_property
    def xy(self) -> np.ndarray:
        """Centroids, float64[N, 2] in metres in the city's CRS."""
        return self.regions[["x", "y"]].to_numpy(np.float64)

    @cached_property
    def area_km2(self) -> np.ndarray:
        """float64[N], on the ellipsoid."""
        return self.regions["area_km2"].to_numpy(np.float64)

    @property
    def image_sources(self) -> list[str]:
        return self._names("images")

    def images(self, name: str) -> ImageSource:
        """One image source."""
        entry = self._part("images", name, "image source")["image"]
        return ImageSource.open(self.path / "images" / name, entry)

    @property
    def caption_sources(self) -> list[str]:
        return self._names("captions")

    def captions(self, source: str | None = None) -> pd.DataFrame:
        """`region` int64, `image` int64 (row in that image source, or -1), `text`; by region, then by image.

        `source`: the image source described; None gives the captions of all, one source after the other.
        """
        if source is None:
            tables = [self.captions(name) for name in self.caption_sources]
            return pd.concat(tables, ignore_index=True) if tables else _no_captions()
        [file] = self._part("captions", source, "caption source")["files"]
        return self._table(file)

    def poi_counts(self) -> tuple[scipy.sparse.csr_array, list[str]] | None:
        """Points of interest by region and category, float64 csr [N, C], and the C categories; None without any."""
        if "poi" not in self._parts:
            return None
        categories = self._parts["poi"]["categories"]
        table = self._table("poi.parquet").dropna(subset="category")
        column = table["category"].map({name: i for i, name in enumerate(categories)}).to_numpy(np.int64)
        entries = (table["count"].to_numpy(np.float64), (table["region"].to_numpy(), column))
        return scipy.sparse.csr_array(entries, shape=(self.n_regions, len(categories))), categories

    @cached_property
    def poi_present(self) -> np.ndarray:
        """bool[N]: where points of interest were counted (a row of counts, even of zeros; or any point)."""
        present = np.zeros(self.n_regions, bool)
        if "poi" in self._parts:
            present[self._table("poi.parquet")["region"].to_numpy()] = True
        return present

    def flows(self) -> scipy.sparse.csr_array | None:
        """Flows, float64 csr [N, N], row = origin; None without any."""
        if "flows" not in self._parts:
            return None
        table = self._table("flows.parquet")
        entries = (table["weight"].to_numpy(), (table["origin"].to_numpy(), table["destination"].to_numpy()))
        return scipy.sparse.csr_array(entries, shape=(self.n_regions, self.n_regions))

    def flow_times(self) -> pd.DataFrame | None:
        """`origin`, `destination`, `weekday` (0 = Monday), `hour`, `weight`; None where flows have no times."""
        if "flow_times.parquet" not in self._parts.get("flows", {}).get("files", []):
            return None
        return self._table("flow_times.parquet")

    @property
    def tables(self) -> list[str]:
        return self._names("tables")

    def table(self, name: str) -> tuple[np.ndarray, list[str]]:
        """float64[N, F], NaN missing, and the F column names."""
        columns = self._part("tables", name, "table")["columns"]
        return self._table(f"tables/{name}.parquet")[columns].to_numpy(np.float64), columns

    @property
    def target_names(self) -> list[str]:
        return self._names("targets")

    def target(self, name: str) -> Target:
        """One target; see `Target`."""
        entry = self._part("targets", name, "target")
        value = self._table(f"targets/{name}.parquet")["value"]
        if entry["kind"] == "regression":
            values = value.to_numpy(np.float64, na_value=np.nan)
        else:
            values = value.astype(object).where(value.notna(), None).to_numpy(dtype=object)
        return Target(name, entry["kind"], values, entry["unit"])

    def coverage(self) -> pd.DataFrame:
        """`kind`, `name`, `regions` (that have it) and `share` of every modality, view source and target."""
        return pd.DataFrame(self.report.coverage(), columns=["kind", "name", "regions", "share"])

    @cached_property
    def report(self) -> PrepareReport:
        """What `prepare` found; `city.report.print()` shows it."""
        with self._reading("report.json") as path:
            return PrepareReport.read(path)

    def any_modality(self) -> np.ndarray | None:
        """bool[N]: which regions have any image, caption, count, flow or table; None in a city without all of them."""
        if not any(key.split(".")[0] in ("images", "captions", "poi", "flows", "tables") for key in self._parts):
            return None
        present = self.poi_present.copy()
        for name in self.image_sources:
            present[self.images(name).region] = True
        for name in self.caption_sources:
            present[self.captions(name)["region"].to_numpy()] = True
        if "flows" in self._parts:
            pairs = self._table("flows.parquet")
            present[pairs["origin"].to_numpy()] = present[pairs["destination"].to_numpy()] = True
        for name in self.tables:
            present |= np.isfinite(self.table(name)[0]).any(1)
        return present

    def part_hashes(self, *kinds: str) -> dict[str, str]:
        """The content hash of each part of these kinds, such as `poi`, `tables` (all of them) or `images.rsi`."""
        return {key: part["hash"] for key, part in self._parts.items() if {key, key.split(".", 1)[0]} & set(kinds)}

    def _names(self, kind: str) -> list[str]:
        return [key.split(".", 1)[1] for key in self._parts if key.startswith(f"{kind}.")]

    def _part(self, kind: str, name: str, what: str) -> dict[str, Any]:
        if f"{kind}.{name}" not in self._parts:
            known = self._names(kind)
            hint = suggest(name, known) if known else f" It has no {what}."
            raise UserError(Problem(f"the city '{self.name}' has no {what} '{name}'.{hint}", self.path))
        return self._parts[f"{kind}.{name}"]

    def _table(self, name: str) -> pd.DataFrame:
        with self._reading(name) as path:
            return pd.read_parquet(path)

    def _reading(self, name: str) -> _Reading:
        return _Reading(self.path / name)


class _Reading:
    """Turns what can go wrong while reading a file of the city into one message."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __enter__(self) -> Path:
        return self.path

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, (OSError, ValueError)):
            raise UserError(Problem(f"is damaged or missing ({error}); prepare the city again", self.path)) from None


def _no_captions() -> pd.DataFrame:
    return pd.DataFrame({"region": np.zeros(0, np.int64), "image": np.zeros(0, np.int64), "text": np.zeros(0, str)})


@dataclass
class Target:
    """What is predicted. `values`: float64[N], NaN missing, for regression; object[N] of text, None missing, for
    classification. `unit` is for tables and figures."""

    name: str
    kind: Literal["regression", "classification"]
    values: np.ndarray
    unit: str = ""

    @property
    def present(self) -> np.ndarray:
        """bool[N]: which regions have a value."""
        if self.kind == "regression":
            return np.isfinite(self.values)
        return np.array([value is not None for value in self.values], dtype=bool)
