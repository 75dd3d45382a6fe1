"""The layers of a city that datasets provide, such as an OpenStreetMap extract."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from urbankit import registry
from urbankit.city.datasets.base import (
    AnyLayer,
    BaseMap,
    DataFolder,
    Dataset,
    Flows,
    PoiCounts,
    PoiPoints,
    Regions,
    Table,
    TargetValues,
)
from urbankit.city.points import NEEDS_GEOMETRY
from urbankit.city.prepare.base_map import built_base_map
from urbankit.city.prepare.context import Built, Context
from urbankit.city.prepare.flows import built_flows
from urbankit.city.prepare.poi import built_poi, count_points, count_table
from urbankit.city.prepare.points import Points, locate_labelled
from urbankit.city.prepare.tables import built_table
from urbankit.city.prepare.targets import built_target
from urbankit.city.report import SourceReport
from urbankit.city.spec import (
    CitySpec,
    FlowsByPoint,
    MosaicImages,
    PointImages,
    PointTarget,
    RasterTarget,
)
from urbankit.city.spec import PoiPoints as PoiPointFile
from urbankit.city.spec_base_map import BaseMapSpec
from urbankit.city.target import Target
from urbankit.utils.errors import Problem, Problems, UserError, suggest

_KINDS: dict[str, tuple[type[Any], ...]] = {
    "poi": (PoiPoints, PoiCounts),
    "flows": (Flows,),
    "base_map": (BaseMap,),
    "tables": (Table,),
    "targets": (TargetValues,),
}
"""The classes of layers by the first word of their keys."""


class CityDataset:
    """A dataset that a city file names, whose files are read once for all its layers."""

    def __init__(self, name: str, params: Any, data: DataFolder) -> None:
        self.name, self.params, self.data = name, params, data
        self.dataset: Dataset = registry.get("dataset", name)(params)
        self._layers: Mapping[str, AnyLayer] | None = None
        self._failed = False

    @cached_property
    def files(self) -> Sequence[Path]:
        """The files that are read. Raises `UserError` if one is missing."""
        with self._reading(None):
            return list(self.dataset.files(self.data))

    @cached_property
    def keys(self) -> Sequence[str]:
        """The keys of its layers, such as `tables.osm_roads`."""
        with self._reading(None):
            return list(self.dataset.provides(self.data))

    @cached_property
    def region_ids(self) -> Sequence[str] | None:
        """The ids of the regions of a city file without `regions`; None if its files do not say them."""
        with self._reading(None):
            ids = self.dataset.region_ids(self.data)
        return None if ids is None else list(ids)

    def build(self, key: str, context: Context, report: SourceReport) -> Built:
        """Build one layer. Raises `UserError` with what is wrong with the files."""
        with self._reading(self.files[0] if len(self.files) == 1 else None):
            layer = self._read(context)[key]
            kind = _KINDS[key.partition(".")[0]]
            if not isinstance(layer, kind):
                raise UserError(f"the layer '{key}' is a {type(layer).__name__}; the author of the dataset corrects it")
            dropped = sum(layer.dropped.values())
            if dropped > layer.rows and not isinstance(layer, PoiPoints):  # (rows of points are counted later)
                raise UserError(
                    f"the layer '{key}' drops {dropped} of {layer.rows} rows; the author of the dataset corrects it"
                )
            report.rows = report.matched = layer.rows
            report.notes += layer.notes
            for reason, count in layer.dropped.items():
                report.drop(count, reason)
            report.matched -= sum(report.dropped.values())
            return _built(layer, self.files[0], context, report)

    def _read(self, context: Context) -> Mapping[str, AnyLayer]:
        if self._failed:
            raise UserError([])  # the first of the layers has reported it
        if self._layers is None:
            self._failed = True
            self._layers = self.dataset.read(self.data, _regions(context))
            self._failed = False
        return self._layers

    @contextmanager
    def _reading(self, path: Path | None) -> Iterator[None]:
        """Give errors the file, if they name none, and the key of the dataset."""
        try:
            yield
        except UserError as error:
            problems = [replace(one, file=one.file or path, key=self._key(one.key)) for one in error.problems]
            raise UserError(problems) from None
        except Exception as error:  # (libraries of formats and plugins raise kinds of their own)
            reason = str(error) or type(error).__name__
            raise UserError(Problem(f"cannot be read: {reason}", path, key=self.name)) from error

    def _key(self, key: str | None) -> str:
        return key if key is not None and key.partition(".")[0] == self.name else self.name


def city_datasets(spec: CitySpec, data: Path) -> list[CityDataset]:
    """Return the datasets that a city file names."""
    folder = DataFolder(data, "outside" in spec.allow)
    return [CityDataset(name, params, folder) for name, params in spec.datasets.items()]


def check_datasets(spec: CitySpec, spec_file: Path, datasets: Sequence[CityDataset]) -> None:
    """Raise `UserError` for files of datasets that are missing, and for a layer that comes from two places."""
    problems = Problems()
    owners = {key: key for key in ("poi", "flows", "base_map") if getattr(spec, key)}
    for key in [*(f"tables.{name}" for name in spec.tables), *(f"targets.{name}" for name in spec.target_sources)]:
        owners[key] = key
    for dataset in datasets:
        with problems.collect(dataset.name):
            _ = dataset.files
            for key in dataset.keys:
                other = owners.setdefault(key, dataset.name)
                if other != dataset.name:
                    message = f"`{other}` and `{dataset.name}` both give {key}; remove one, or leave it out by `use`"
                    problems.add(message, key=dataset.name, file=spec_file)
    if not problems:
        _check_texts(spec, spec_file, owners, problems)
    if spec.regions is None and not problems:
        _check_without_regions(spec, spec_file, datasets, problems)
    problems.raise_if_any()


def _check_texts(spec: CitySpec, spec_file: Path, owners: Mapping[str, str], problems: Problems) -> None:
    """Add a problem for each target that has texts, but no source and no dataset that gives it."""
    given = [key.partition(".")[2] for key, owner in owners.items() if key.startswith("targets.") and key != owner]
    for name in spec.targets.keys() - spec.target_sources.keys() - set(given):
        hint = suggest(name, given) if given else ""
        message = f"has no source, and no dataset gives it; add one of the keys table, raster, points.{hint}"
        problems.add(message, key=f"targets.{name}", file=spec_file)


def _check_without_regions(
    spec: CitySpec, spec_file: Path, datasets: Sequence[CityDataset], problems: Problems
) -> None:
    """Add a problem if no dataset has regions, and for every source that needs their geometry."""
    if all(dataset.region_ids is None for dataset in datasets):
        problems.add("is missing. Where the regions come from.", key="regions", file=spec_file)
        return
    for key in _placed_by_position(spec):
        problems.add(NEEDS_GEOMETRY, key=key, file=spec_file)


def _placed_by_position(spec: CitySpec) -> list[str]:
    """Return the keys of the sources that are matched to the regions by position."""
    sources: dict[str, Any] = {f"images.{name}": source for name, source in spec.images.items()}
    sources |= {f"targets.{name}": source for name, source in spec.target_sources.items()}
    sources |= {"poi": spec.poi, "flows": spec.flows, "base_map": spec.base_map}
    placed = (BaseMapSpec, MosaicImages, PointImages, PoiPointFile, FlowsByPoint, RasterTarget, PointTarget)
    return [key for key, source in sources.items() if isinstance(source, placed)]


def _regions(context: Context) -> Regions:
    return Regions(context.regions, context.point_index if context.has_geometry else None)


def _built(layer: AnyLayer, path: Path, context: Context, report: SourceReport) -> Built:
    n_regions = len(context.regions)
    if isinstance(layer, PoiPoints):
        return _of_points(layer, path, context, report)
    if isinstance(layer, PoiCounts):
        region, category = np.nonzero(layer.counts)
        counts = count_table(region, category, layer.counts[region, category])
        return built_poi(counts, np.ones(n_regions, bool), list(layer.categories), report)
    if isinstance(layer, Flows):
        groups = layer.pairs if layer.hours is None else layer.hours
        return built_flows(groups, layer.hours is not None, context, report)
    if isinstance(layer, BaseMap):
        return built_base_map(layer.frame, layer.credit, context, report)
    if isinstance(layer, Table):
        return built_table(layer.values, layer.columns, context, report)
    return built_target(Target(report.name, layer.kind, layer.values, layer.unit), path, context, report)


def _of_points(layer: PoiPoints, path: Path, context: Context, report: SourceReport) -> Built:
    report.rows, report.matched, dropped = 0, 0, dict(report.dropped)
    points = Points(layer.lon, layer.lat, pl.DataFrame())
    row, region = locate_labelled(points, layer.category, ("category", "category"), path, context.point_index, report)
    report.rows += sum(dropped.values())
    categories = sorted(layer.categories or layer.category.drop_nulls().unique().to_list())
    counts = count_points(layer.category.gather(row), region, categories)
    present = np.bincount(region, minlength=len(context.regions)) > 0
    return built_poi(counts, present if layer.present is None else layer.present | present, categories, report)
