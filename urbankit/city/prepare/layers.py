"""The layers of a prepared city: what each depends on, and which function builds it."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from urbankit.city.io.access import RASTER_DRIVERS, Access, read_files
from urbankit.city.io.columns import file_names
from urbankit.city.io.source import find_source
from urbankit.city.manifest import FORMAT
from urbankit.city.prepare.base_map import build_base_map
from urbankit.city.prepare.captions import build_captions
from urbankit.city.prepare.context import Built, Context
from urbankit.city.prepare.datasets import CityDataset, city_datasets
from urbankit.city.prepare.flows import build_flows
from urbankit.city.prepare.images import build_images
from urbankit.city.prepare.poi import build_poi
from urbankit.city.prepare.points import read_points
from urbankit.city.prepare.regions import build_regions, regions_without_geometry
from urbankit.city.prepare.tables import build_table
from urbankit.city.prepare.targets import build_target
from urbankit.city.report import SourceReport
from urbankit.city.spec import CitySpec, ImageSpec, PointImages, RegionImages
from urbankit.city.spec_base import Described, Spec
from urbankit.utils.errors import UserError
from urbankit.utils.files import hash_file, hash_json


@dataclass
class Layer:
    """One dataset of a city, such as `regions`, `poi` or `images.rsi`.

    Attributes:
        key: Its key in the spec and in the manifest.
        inputs: The hash of all it depends on: its spec, its source files and the layers before it.
        build: Builds it. Raises `UserError` with what is wrong with the sources.
    """

    key: str
    inputs: str
    build: Callable[[SourceReport], Built]


def regions_layer(spec: CitySpec, context: Context) -> Layer:
    """The regions, which all other layers depend on; building them sets `context.built_regions`."""

    def build(report: SourceReport) -> Built:
        assert spec.regions is not None
        context.built_regions = build_regions(spec.regions, spec.crs, context, report)
        return Built({"regions.parquet": context.built_regions})

    if spec.regions is None:
        return _regions_of_dataset(spec, context)
    return _layer("regions", spec.regions, context, build, crs=spec.crs)


def _regions_of_dataset(spec: CitySpec, context: Context) -> Layer:
    """The regions that a dataset names; they have no geometry."""
    ids = next(one.region_ids for one in city_datasets(spec, context.data) if one.region_ids is not None)

    def build(report: SourceReport) -> Built:
        context.built_regions = regions_without_geometry(ids)
        report.rows = report.matched = len(ids)
        report.note("the regions have no geometry: no maps, distances, coordinates or spatial splits")
        return Built({"regions.parquet": context.built_regions})

    return Layer("regions", hash_json({"format": FORMAT, "ids": list(ids)}), build)


def table_layers(spec: CitySpec, context: Context, regions: Layer) -> list[Layer]:
    """All layers that depend on the regions alone and fit into memory."""

    def layer(key: str, source: Spec, build: Callable[[Any, Context, SourceReport], Built], **depends: str) -> Layer:
        return _layer(
            key, source, context, lambda report: build(source, context, report), regions=regions.inputs, **depends
        )

    captions = {name: source for name, source in spec.captions.items() if source.region is not None}
    return [
        *([layer("poi", spec.poi, build_poi)] if spec.poi else []),
        *([layer("flows", spec.flows, build_flows)] if spec.flows else []),
        *([layer("base_map", spec.base_map, build_base_map)] if spec.base_map else []),
        *(layer(f"tables.{name}", source, build_table) for name, source in spec.tables.items()),
        *(layer(f"targets.{name}", source, build_target) for name, source in spec.target_sources.items()),
        *(layer(f"captions.{name}", source, build_captions, images="") for name, source in captions.items()),
        *(one for dataset in city_datasets(spec, context.data) for one in _dataset_layers(dataset, context, regions)),
    ]


def _dataset_layers(dataset: CityDataset, context: Context, regions: Layer) -> list[Layer]:
    hashes = {os.path.relpath(path, context.data): _hash(path) for path in dataset.files}
    keys = dataset.params.model_dump(mode="json")
    inputs = {"format": FORMAT, "dataset": dataset.name, "files": hashes, "spec": keys, "regions": regions.inputs}

    def layer(key: str) -> Layer:
        return Layer(key, hash_json({**inputs, "layer": key}), lambda report: dataset.build(key, context, report))

    return [layer(key) for key in dataset.keys]


def image_layer(spec: CitySpec, context: Context, name: str, regions: Layer) -> Layer:
    """One image source. Its pictures are written while they are decoded."""
    source = spec.images[name]
    return _layer(
        f"images.{name}", source, context, lambda report: build_images(source, context, report),
        regions=regions.inputs, pictures=_picture_stamp(context, source),
    )  # fmt: skip


def image_captions_layer(spec: CitySpec, context: Context, name: str, regions: Layer, images: Layer) -> Layer:
    """Captions that name the images of the source `name`."""
    source = spec.captions[name]
    return _layer(
        f"captions.{name}", source, context, lambda report: build_captions(source, context, report),
        regions=regions.inputs, images=images.inputs,
    )  # fmt: skip


def _layer(
    key: str, spec: Spec, context: Context, build: Callable[[SourceReport], Built], **depends: str | None
) -> Layer:
    """A layer whose report also has what the sources of its files note about them."""

    def build_and_note(report: SourceReport) -> Built:
        built = build(report)
        for _, name in source_files(spec):
            path = context.path(name)
            if (source := find_source(path)) is not None:
                report.notes += source.notes(path)
        return built

    return Layer(key, _inputs(context, spec, **depends), build_and_note)


def source_files(spec: Spec) -> list[tuple[str, str]]:
    """`(key, path)` of every file that a spec names, paths as written."""
    files: list[tuple[str, str]] = []

    def walk(key: str, value: Any) -> None:
        if isinstance(value, dict):
            for name, inner in value.items():
                walk(f"{key}.{name}" if key else name, inner)
        elif value is not None and key.rsplit(".", 1)[-1] in _FILE_KEYS:
            files.extend((key, path) for path in (value if isinstance(value, (list, tuple)) else [value]))

    walk("", spec.model_dump(mode="json"))
    return files


_FILE_KEYS = {"file", "covering", "mosaic", "points", "counts", "table", "raster"}


def _inputs(context: Context, spec: Spec, **depends: str | None) -> str:
    names = [name for _, name in source_files(spec)]
    paths = zip(names, context.paths(names), strict=True)
    hashes = {name: [_hash(file) for file in _files(path, context.access)] for name, path in paths}
    return hash_json({"format": FORMAT, "files": hashes, "spec": _read_keys(spec), **depends})


def _read_keys(spec: Spec) -> dict[str, Any]:
    """The keys of a spec that its layer depends on: titles and descriptions are read from the manifest."""
    keys = spec.model_dump(mode="json", exclude=set(Described.model_fields))
    classes = keys.pop("classes", None)
    return {**keys, "classes": sorted(classes)} if classes else keys


def _files(path: Path, access: Access) -> Sequence[Path]:
    """Return the files that are read of `path`: a Shapefile is several files, and a VRT refers to others."""
    if path.suffix.lower() in RASTER_DRIVERS:
        return read_files(path, access)
    source = find_source(path)
    return [path] if source is None else source.files(path)


def _hash(path: Path) -> str:
    status = path.stat()
    return _hash_once(path, status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)


@cache
def _hash_once(path: Path, size: int, modified: int, changed: int, inode: int) -> str:
    return hash_file(path)


def _picture_stamp(context: Context, spec: ImageSpec) -> str | None:
    """The hash of sizes and times of picture files: hashing their bytes would take as long as decoding them."""
    names: list[str | None]
    if isinstance(spec, RegionImages):
        names = [spec.files.replace("{region_id}", name) for name in context.ids.ids]
    elif isinstance(spec, PointImages):
        try:
            points = read_points(context.path(spec.points), {"image": spec.image}, spec, context.access, "")
            names = file_names(points.columns, spec.image, context.path(spec.points), "").to_list()
        except UserError:  # building the layer reports it
            names = []
    else:
        return None
    stamps = []
    for name in names:
        try:
            status = context.path(name).stat() if name else None
        except (OSError, UserError):
            status = None
        stamps.append([name, status and status.st_size, status and status.st_mtime_ns])
    return hash_json(stamps)
