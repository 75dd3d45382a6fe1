"""Several prepared cities as one, whose regions follow each other: `JoinedCity`."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import scipy.sparse
import shapely
from numpy.typing import NDArray

from urbankit.city.city import City
from urbankit.city.image_source import ImageSource
from urbankit.city.joined_images import join_images
from urbankit.city.report import PrepareReport
from urbankit.city.target import Target
from urbankit.utils.errors import Problem, Problems, UserError, suggest
from urbankit.utils.files import hash_json
from urbankit.utils.names import match_names

CRS = "EPSG:6933"
"""World cylindrical equal area, in metres: the CRS of `regions`, since no projected CRS of one city fits all."""

GAP_M = 1e6
"""Least distance between two cities in `xy`."""


class JoinedCity(City):
    """Several prepared cities with the interface of one.

    Region i of the second city has the index n + i, n being the number of regions of the first, and the id
    `NAME/region_id`. Columns (categories of points of interest, bands, columns of tables, targets) are matched by name,
    however it is spelled (`match_names`). A city that lacks a dataset has missing values in it.

    Args:
        members: The cities by name, at least one.
        path: What messages name as the folder.

    Raises:
        UserError: If two of the cities have regions at the same location, or the same target or image source in forms
            that do not fit together.
    """

    def __init__(self, members: Mapping[str, City], path: Path) -> None:
        self._members = dict(members)
        self.path, self.crs = path, CRS
        self.name = ", ".join(members) if len(members) <= 3 else f"{len(members)} cities"
        self.content_hash = hash_json([[name, city.content_hash] for name, city in members.items()])
        allowed = [key for city in members.values() for key in city.manifest["spec"].get("allow_leak", [])]
        self.manifest: dict[str, Any] = {
            "name": self.name,
            "crs": CRS,
            "content_hash": self.content_hash,
            "regions": sum(city.n_regions for city in members.values()),
            "parts": {},
            "spec": {"allow_leak": list(dict.fromkeys(allowed))},
        }
        self._bands: dict[str, list[int]] = {}
        self._check_members()

    @property
    def members(self) -> dict[str, City]:
        return self._members

    def check(self) -> None:
        problems = Problems()
        for city in self._members.values():
            try:
                city.check()
            except UserError as error:
                problems.extend(error.problems)
        problems.raise_if_any()

    def source(self, name: str) -> Path:
        message = f"has several members, so '{name}' is a file of none of them; a component reads it from each member"
        raise UserError(Problem(message, self.path))

    @cached_property
    def regions(self) -> gpd.GeoDataFrame:
        tables = []
        for name, city in self._members.items():
            city.need_geometry()
            table = city.regions.to_crs(CRS)
            centre = table.geometry.centroid
            ids = [f"{name}/{region_id}" for region_id in city.region_ids]
            tables.append(table.assign(region_id=ids, x=centre.x, y=centre.y))
        return gpd.GeoDataFrame(pd.concat(tables, ignore_index=True), geometry="geometry", crs=CRS)

    @cached_property
    def xy(self) -> NDArray[np.float64]:
        """Centroids, float64[N, 2] in metres. Distances are right within a city; cities lie side by side."""
        placed, left = [], 0.0
        for city in self._members.values():
            xy = city.xy - city.xy.min(axis=0)
            placed.append(xy + np.array([left, 0.0]))
            left += float(xy[:, 0].max()) + GAP_M
        return np.concatenate(placed)

    @cached_property
    def lonlat(self) -> NDArray[np.float64]:
        return np.concatenate([city.lonlat for city in self._members.values()])

    @cached_property
    def area_km2(self) -> NDArray[np.float64]:
        return np.concatenate([city.area_km2 for city in self._members.values()])

    @property
    def image_sources(self) -> list[str]:
        return self._names_of(lambda city: city.image_sources)

    @property
    def overhead_sources(self) -> list[str]:
        return [
            name
            for name in self.image_sources
            if all(name in c.overhead_sources for c in self._members.values() if name in c.image_sources)
        ]

    def images(self, name: str) -> ImageSource:
        self._require(name, self.image_sources, "image source")
        members = {n: (self._start[n], c.images(name)) for n, c in self._members.items() if name in c.image_sources}
        images = join_images(name, members)
        return images.with_bands(self._bands[name]) if name in self._bands else images

    @property
    def caption_sources(self) -> list[str]:
        return self._names_of(lambda city: city.caption_sources)

    def captions(self, source: str | None = None) -> pd.DataFrame:
        if source is None:
            return super().captions()
        self._require(source, self.caption_sources, "caption source")
        tables, n_images = [], 0
        for name, city in self._members.items():
            if source in city.caption_sources:
                table = city.captions(source)
                image = np.where(table["image"] >= 0, table["image"] + n_images, -1)
                tables.append(table.assign(region=table["region"] + self._start[name], image=image))
            n_images += len(city.images(source)) if source in city.image_sources else 0
        return pd.concat(tables, ignore_index=True)

    def poi_counts(self) -> tuple[scipy.sparse.csr_array, list[str]] | None:
        counts = {name: of_city for name, city in self._members.items() if (of_city := city.poi_counts()) is not None}
        if not counts:
            return None
        categories, position = vocabulary([names for _, names in counts.values()])
        blocks = []
        for name, city in self._members.items():
            if name not in counts:
                blocks.append(scipy.sparse.csr_array((city.n_regions, len(categories))))
                continue
            matrix, names = counts[name]
            entries = matrix.tocoo()
            columns = np.array([position[n] for n in names], np.int64)[entries.col]
            shape = (city.n_regions, len(categories))
            blocks.append(scipy.sparse.csr_array((entries.data, (entries.row, columns)), shape=shape))
        return scipy.sparse.csr_array(scipy.sparse.vstack(blocks)), categories

    @cached_property
    def poi_present(self) -> NDArray[np.bool_]:
        return np.concatenate([city.poi_present for city in self._members.values()])

    def flows(self) -> scipy.sparse.csr_array | None:
        flows = [city.flows() for city in self._members.values()]
        if all(matrix is None for matrix in flows):
            return None
        blocks = [scipy.sparse.csr_array((n, n)) if f is None else f for n, f in zip(self.sizes, flows, strict=True)]
        return scipy.sparse.csr_array(scipy.sparse.block_diag(blocks))

    def flow_times(self) -> pd.DataFrame | None:
        tables = []
        for name, city in self._members.items():
            if (table := city.flow_times()) is not None:
                start = self._start[name]
                tables.append(table.assign(origin=table["origin"] + start, destination=table["destination"] + start))
        return pd.concat(tables, ignore_index=True) if tables else None

    def base_map(self) -> tuple[gpd.GeoDataFrame, str] | None:
        return None  # the cities may be anywhere

    @property
    def tables(self) -> list[str]:
        return self._names_of(lambda city: city.tables)

    def table(self, name: str) -> tuple[NDArray[np.float64], list[str]]:
        self._require(name, self.tables, "table")
        tables = {n: city.table(name) for n, city in self._members.items() if name in city.tables}
        columns, position = vocabulary([names for _, names in tables.values()])
        values = np.full((self.n_regions, len(columns)), np.nan)
        for member, (numbers, names) in tables.items():
            rows = slice(self._start[member], self._start[member] + len(numbers))
            values[rows, [position[n] for n in names]] = numbers
        return values, columns

    @property
    def target_names(self) -> list[str]:
        return self._names_of(lambda city: city.target_names)

    def unlabelled(self) -> City:
        city = copy.copy(self)
        city._members = {name: member.unlabelled() for name, member in self._members.items()}
        return city

    def target(self, name: str) -> Target:
        self._require(name, self.target_names, "target")
        targets = {n: city.target(name) for n, city in self._members.items() if name in city.target_names}
        first = next(iter(targets.values()))
        values: list[NDArray[Any]] = []
        for member, city in self._members.items():
            missing = None if first.values.dtype == object else np.nan
            shape, dtype = (city.n_regions, *first.values.shape[1:]), first.values.dtype
            of_member = targets[member].ordered(first.parts).values if member in targets else None
            values.append(np.full(shape, missing, dtype=dtype) if of_member is None else of_member)
        unit = next((target.unit for target in targets.values() if target.unit), "")
        titled = next((target for target in targets.values() if target.title), first)
        classes = {code: text for target in reversed(targets.values()) for code, text in target.classes.items()}
        return replace(titled, values=np.concatenate(values), unit=unit, classes=classes, parts=first.parts)

    @cached_property
    def report(self) -> PrepareReport:
        sources = [
            replace(report, key=f"{report.key} of {name}")
            for name, city in self._members.items()
            for report in city.report.sources
        ]
        without = [
            f"{name}/{region_id}" for name, city in self._members.items() for region_id in city.report.without_modality
        ]
        return PrepareReport(self.name, self.n_regions, sources, without)

    def coverage(self) -> pd.DataFrame:
        tables = [city.coverage() for city in self._members.values()]
        table = pd.concat(tables, ignore_index=True).groupby(["kind", "name"], sort=False)["regions"].sum()
        return table.reset_index().assign(share=lambda rows: rows["regions"] / self.n_regions)

    def any_modality(self) -> NDArray[np.bool_] | None:
        present = [(city, city.any_modality()) for city in self._members.values()]
        if all(mask is None for _, mask in present):
            return None
        return np.concatenate([np.zeros(c.n_regions, bool) if mask is None else mask for c, mask in present])

    def layer_hashes(self, *kinds: str) -> dict[str, str]:
        return {
            f"{name}: {key}": value
            for name, city in self._members.items()
            for key, value in city.layer_hashes(*kinds).items()
        }

    @cached_property
    def _start(self) -> dict[str, int]:
        """The index of the first region of each member."""
        return dict(zip(self._members, np.cumsum([0, *self.sizes[:-1]]).tolist(), strict=True))

    def _names_of(self, names: Callable[[City], Sequence[str]]) -> list[str]:
        return list(dict.fromkeys(name for city in self._members.values() for name in names(city)))

    def _require(self, name: str, names: Sequence[str], description: str) -> None:
        if name not in names:
            hint = suggest(name, names) if names else f" They have no {description}."
            raise UserError(Problem(f"none of the cities has the {description} '{name}'.{hint}", self.path))

    def _check_members(self) -> None:
        """Raise one `UserError` with targets and regions of the members that do not fit together."""
        problems = Problems(self.path)
        for name in self.target_names:
            targets = {member: city.target(name) for member, city in self._members.items() if name in city.target_names}
            facts = {m: {"kind": t.kind, "unit": t.unit, "list of parts": ", ".join(sorted(t.parts))}
                     for m, t in targets.items()}  # fmt: skip
            for what in ("kind", "unit", "list of parts"):
                values = {member: value for member, of_member in facts.items() if (value := of_member[what])}
                if len(set(values.values())) > 1:
                    each = ", ".join(f"{value} in {member}" for member, value in values.items())
                    problems.add(f"the {what} differs between cities: {each}; use one", key=f"targets.{name}")
        for first, second in self._overlaps():
            message = f"the cities {first} and {second} have regions at the same location, whose data would be counted"
            problems.add(f"{message} twice and leak from one to the other; leave one out", key="cities")
        problems.raise_if_any()

    def _overlaps(self) -> list[tuple[str, str]]:
        """Pairs of members of which one has the inner point of a region within a region of the other."""
        names = list(self._members)
        frames = [city.regions.geometry.to_crs("EPSG:4326") for city in self._members.values()]
        polygons = np.concatenate([frame.to_numpy() for frame in frames])
        tree = shapely.STRtree(polygons)
        points, regions = tree.query(shapely.point_on_surface(polygons), predicate="within")
        pairs = np.unique(np.column_stack([self.member[points], self.member[regions]]), axis=0)
        different = np.unique(np.sort(pairs[pairs[:, 0] != pairs[:, 1]], axis=1), axis=0)
        return [(names[i], names[j]) for i, j in different.tolist()]


def vocabulary(names: Sequence[Sequence[str]]) -> tuple[list[str], dict[str, int]]:
    """Return one list of the names of several lists, and the position of each name in it.

    A name that a list spells in its own way is that of the first list that has it.

    >>> vocabulary([["cafe", "fast_food"], ["Fast food", "park"]])
    (['cafe', 'fast_food', 'park'], {'cafe': 0, 'fast_food': 1, 'Fast food': 1, 'park': 2})
    """
    joined: list[str] = []
    position: dict[str, int] = {}
    for one in names:
        matches = match_names(one, joined)
        for name in one:
            if name not in matches:
                joined.append(name)
            position.setdefault(name, joined.index(matches.get(name, name)))
    return joined, position
