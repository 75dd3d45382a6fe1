"""The parts of a prepared city: for each source what it depends on, how it is built, and the files it writes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import polars as pl

from urbankit.city.ids import RegionIds
from urbankit.city.image_source import ImageSource
from urbankit.city.manifest import FORMAT
from urbankit.city.prepare.captions import build_captions
from urbankit.city.prepare.flows import build_flows
from urbankit.city.prepare.images import prepare_images
from urbankit.city.prepare.match_regions import number_matrix, read_by_region, region_of, spread
from urbankit.city.prepare.poi import build_poi
from urbankit.city.prepare.points import read_points
from urbankit.city.prepare.quality import suspicious_values
from urbankit.city.prepare.regions import build_regions
from urbankit.city.prepare.targets import build_target
from urbankit.city.report import SourceReport
from urbankit.city.spec import (
    Captions,
    CitySpec,
    FlowSpec,
    ImageSpec,
    PointImages,
    PoiSpec,
    RegionImages,
    Table,
    TargetSpec,
)
from urbankit.utils.errors import Problems
from urbankit.utils.files import atomic_path, hash_file, hash_json
from urbankit.utils.parquet import write_table
from urbankit.utils.paths import resolve_inside
from urbankit.utils.progress import Progress


@dataclass
class Context:
    """What every part is built from."""

    spec: CitySpec
    data: Path
    out: Path
    problems: Problems
    progress: Progress
    regions: gpd.GeoDataFrame | None = None
    images: dict[str, Any] = field(default_factory=dict)


@dataclass
class Built:
    """A part in memory: `write` puts it into the city folder; `entry` is what the manifest says about it."""

    write: Callable[[], None]
    entry: dict[str, Any] = field(default_factory=dict)


@dataclass
class Part:
    """A part: its key in the spec, the hash of all it depends on, its files, and how it is built.

    `build` returns None when the context's problems say why.
    """

    key: str
    inputs: str
    files: list[str]
    build: Callable[[Context, SourceReport], Built | None]


def regions_part(context: Context) -> Part:
    """The regions, which all other parts depend on."""
    spec, crs = context.spec.regions, context.spec.crs

    def build(context: Context, report: SourceReport) -> Built | None:
        context.regions = build_regions(spec, crs, context.data, context.problems, report)
        return None if context.regions is None else Built(write)

    def write() -> None:
        with atomic_path(context.out / "regions.parquet") as temporary:
            context.regions.to_parquet(temporary)

    names = sources(context.spec)
    files = [name for key, name in names if key.startswith("regions.")]
    return Part("regions", _inputs(context.data, {"spec": _dump(spec), "crs": crs}, files), ["regions.parquet"], build)


def image_part(context: Context, name: str, spec: ImageSpec, regions: str) -> Part:
    """One image source; `regions` is the hash of what the regions depend on."""

    def build(context: Context, report: SourceReport) -> Built | None:
        folder = context.out / "images" / name
        entry = prepare_images(name, spec, context.regions, context.data, folder, context.problems, context.progress)
        if entry is None:
            return None
        report.rows, report.matched = entry["rows"], entry["images"]
        report.dropped, report.notes = dict(entry["dropped"]), list(entry["notes"])
        report.covers = ("image", name, entry["regions"])
        return Built(lambda: None, {"image": entry})

    key = f"images.{name}"
    files = [path for source, path in sources(context.spec) if source.startswith(f"{key}.")]
    stamp = _picture_stamp(context, spec)
    inputs = _inputs(context.data, {"spec": _dump(spec), "regions": regions, "pictures": stamp}, files)
    return Part(key, inputs, [f"images/{name}/index.parquet"], build)


def captions_part(context: Context, name: str, spec: Captions, regions: str, images: str) -> Part:
    """The captions of one image source; `images` is the hash of what that source depends on, if it matters."""

    def build(context: Context, report: SourceReport) -> Built | None:
        source = None
        if spec.image is not None and name in context.images:
            source = ImageSource.open(context.out / "images" / name, context.images[name])
        ids = RegionIds(context.regions.region_id)
        table = build_captions(spec, ids, source, context.data, context.problems, report)
        return None if table is None else Built(lambda: write_table(table, context.out / f"captions/{name}.parquet"))

    depends = {"spec": _dump(spec), "regions": regions, "images": images}
    return Part(f"captions.{name}", _inputs(context.data, depends, [spec.file]), [f"captions/{name}.parquet"], build)


def poi_part(context: Context, spec: PoiSpec, regions: str) -> Part:
    """`poi.parquet`: region, category, count; a region that was counted without a find has one null category."""

    def build(context: Context, report: SourceReport) -> Built | None:
        poi = build_poi(spec, context.regions, context.data, context.problems, report)
        if poi is None:
            return None
        counts = poi.counts.tocoo()
        bare = np.flatnonzero(poi.present & (np.bincount(counts.row, minlength=len(poi.present)) == 0))
        found = pl.DataFrame(
            {"region": counts.row.astype(np.int64), "category": counts.col.astype(np.int64), "count": counts.data}
        )
        none = pl.DataFrame({"region": bare.astype(np.int64)}).with_columns(
            category=pl.lit(None, pl.Int64), count=pl.lit(0.0)
        )
        names = pl.Series(poi.categories, dtype=pl.String)
        table = (
            pl.concat([found, none])
            .sort("region", "category")
            .with_columns(category=names.gather(pl.concat([found, none]).sort("region", "category")["category"]))
        )
        return Built(lambda: write_table(table, context.out / "poi.parquet"), {"categories": poi.categories})

    files = [path for key, path in sources(context.spec) if key.startswith("poi.")]
    inputs = _inputs(context.data, {"spec": _dump(spec), "regions": regions}, files)
    return Part("poi", inputs, ["poi.parquet"], build)


def flows_part(context: Context, spec: FlowSpec, regions: str) -> Part:
    """`flows.parquet`: origin, destination, weight; `flow_times.parquet` with weekday and hour as well."""
    files = ["flows.parquet", "flow_times.parquet"] if spec.time else ["flows.parquet"]

    def build(context: Context, report: SourceReport) -> Built | None:
        flows = build_flows(spec, context.regions, context.data, context.problems, report)
        if flows is None:
            return None

        def write() -> None:
            for name, table in zip(files, (flows.pairs, flows.times), strict=False):
                write_table(table, context.out / name)

        return Built(write)

    return Part("flows", _inputs(context.data, {"spec": _dump(spec), "regions": regions}, [spec.file]), files, build)


def table_part(context: Context, name: str, spec: Table, regions: str) -> Part:
    """`tables/NAME.parquet`: one row a region in their order, one column a feature."""

    def build(context: Context, report: SourceReport) -> Built | None:
        path, ids = resolve_inside(context.data, spec.file), RegionIds(context.regions.region_id)
        wanted = {f"columns[{i}]": column for i, column in enumerate(spec.columns or [])} | {"region": spec.region}
        frame = read_by_region(path, wanted, ids, context.problems, report)
        if frame is None:
            return None
        columns = spec.columns or [c for c in frame.columns if c not in (spec.region, "__region")]
        if not columns:
            context.problems.add("has no column but the region", file=path, key=report.key)
            return None
        values = number_matrix(frame, columns, path, context.problems, f"{report.key}.columns")
        if values is None:
            return None
        infinite = np.isinf(values)
        if infinite.any():
            report.note(f"infinite values, taken as missing: {int(infinite.sum())}")
            values[infinite] = np.nan
        values = spread(values, region_of(frame), len(ids))
        report.covers = ("table", name, int(np.isfinite(values).any(1).sum()))
        for column, column_name in zip(values.T, columns, strict=True):
            for note in suspicious_values(column, ids.ids):
                report.note(f"'{column_name}': {note}")
        table = pl.DataFrame({column_name: values[:, i] for i, column_name in enumerate(columns)})
        return Built(lambda: write_table(table, context.out / f"tables/{name}.parquet"), {"columns": columns})

    inputs = _inputs(context.data, {"spec": _dump(spec), "regions": regions}, [spec.file])
    return Part(f"tables.{name}", inputs, [f"tables/{name}.parquet"], build)


def target_part(context: Context, name: str, spec: TargetSpec, regions: str) -> Part:
    """`targets/NAME.parquet`: region_id, value; null where missing."""

    def build(context: Context, report: SourceReport) -> Built | None:
        target = build_target(name, spec, context.regions, context.data, context.problems, report)
        if target is None:
            return None
        dtype = pl.Float64 if target.kind == "regression" else pl.String
        value = pl.Series("value", target.values.tolist(), dtype=dtype)
        value = value.fill_nan(None) if target.kind == "regression" else value
        table = pl.DataFrame({"region_id": list(context.regions.region_id), "value": value})
        entry = {"kind": target.kind, "unit": target.unit}
        return Built(lambda: write_table(table, context.out / f"targets/{name}.parquet"), entry)

    key = f"targets.{name}"
    files = [path for source, path in sources(context.spec) if source.startswith(f"{key}.")]
    inputs = _inputs(context.data, {"spec": _dump(spec), "regions": regions}, files)
    return Part(key, inputs, [f"targets/{name}.parquet"], build)


def sources(spec: CitySpec) -> list[tuple[str, str]]:
    """`(key, path)` of every file that a spec names, paths as written."""
    found: list[tuple[str, str]] = []

    def walk(key: str, value: Any) -> None:
        if isinstance(value, dict):
            for name, inner in value.items():
                walk(f"{key}.{name}" if key else name, inner)
        elif value is not None and key.rsplit(".", 1)[-1] in _FILE_KEYS:
            found.extend((key, path) for path in (value if isinstance(value, (list, tuple)) else [value]))

    walk("", spec.model_dump(mode="json"))
    return found


_FILE_KEYS = {"file", "covering", "mosaic", "points", "counts", "table", "raster"}


def _inputs(data: Path, depends: dict[str, Any], files: list[str]) -> str:
    hashes = {name: [_hash(path) for path in _with_companions(resolve_inside(data, name))] for name in files}
    return hash_json({"format": FORMAT, "files": hashes, **depends})


def _with_companions(path: Path) -> list[Path]:
    """A Shapefile is several files."""
    if path.suffix.lower() != ".shp":
        return [path]
    return sorted(other for other in path.parent.glob(f"{path.stem}.*") if other.is_file())


def _hash(path: Path) -> str:
    status = path.stat()
    return _hash_once(path, status.st_size, status.st_mtime_ns)


@cache
def _hash_once(path: Path, size: int, modified: int) -> str:
    return hash_file(path)


def _picture_stamp(context: Context, spec: ImageSpec) -> str | None:
    """Sizes and times of picture files: hashing hundreds of thousands of them would take as long as decoding."""
    if isinstance(spec, RegionImages):
        names = [spec.files.replace("{region_id}", name) for name in context.regions.region_id]
    elif isinstance(spec, PointImages):
        quiet = Problems()
        points = read_points(
            resolve_inside(context.data, spec.points), {"image": spec.image}, spec.lon, spec.lat, quiet, ""
        )
        names = [] if points is None else points.columns[spec.image].cast(str).to_list()
    else:
        return None
    stamps = []
    for name in names:
        path = resolve_inside(context.data, name) if name else None
        try:
            status = path.stat() if path else None
        except OSError:
            status = None
        stamps.append([name, status and status.st_size, status and status.st_mtime_ns])
    return hash_json(stamps)


def _dump(spec: Any) -> dict[str, Any]:
    return spec.model_dump(mode="json")
