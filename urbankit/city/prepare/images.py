"""Image sources of a city: prepared once into shards of decoded, resized images, then read by memory map.

A source is one picture file per region, pictures taken at points, or patches cut from raster mosaics. All three become
the same shards and index, which `ImageSource` reads.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd

from urbankit.city.io.columns import file_names
from urbankit.city.io.patches import cut_patches, open_mosaic
from urbankit.city.io.pictures import decode_pictures
from urbankit.city.io.shards import write_shards
from urbankit.city.prepare.context import Built, Context
from urbankit.city.prepare.points import in_several, read_points
from urbankit.city.report import SourceReport
from urbankit.city.spec import ImageSpec, MosaicImages, PointImages, RegionImages
from urbankit.utils.errors import Problem, UserError
from urbankit.utils.files import hash_json
from urbankit.utils.geometry import units_per_metre
from urbankit.utils.progress import Stage
from urbankit.utils.text import list_some

MANY_MISSING = 0.25
"""The share of its pixels that a band may lack where other bands have values, before it is reported."""

RGB = ["red", "green", "blue"]


def build_images(spec: ImageSpec, context: Context, report: SourceReport) -> Built:
    """Write the shards and index of one image source, and return its entry for the manifest.

    A region without a picture, or whose patch has no valid pixel, has no row in the index. A point outside every region
    is dropped and counted; the image of a point in several has a row in each. Rows are sorted by region, then in the
    order of the source. The files are in `context.staging` until the layer is complete.

    The entry holds what `ImageSource.open` needs, and `rows` (read), `images` (stored), `regions` (with at least one
    image), `dropped` (reason to count) and `notes`.
    """
    if isinstance(spec, MosaicImages):
        images = _patches(spec, context, report)
    elif isinstance(spec, RegionImages):
        images = _files(spec, context, report)
    else:
        images = _points(spec, context, report)
    with context.progress.stage(report.key, total=len(images.region)) as stage:
        entry = _write(images, spec.height_width, context, report.name, stage)
    report.rows, report.matched = entry["rows"], entry["images"]
    report.dropped, report.notes = dict(entry["dropped"]), list(entry["notes"])
    report.covers = ("image", report.name, entry["regions"])
    folder = f"images/{report.name}"
    files = [f"{folder}/index.parquet", *(f"{folder}/{shard['file']}" for shard in entry["shards"])]
    return Built(entry={"image": entry}, files=files, digest=entry["content_hash"])


def patch_extent_m(spec: MosaicImages, regions: gpd.GeoDataFrame) -> float:
    """Side on the ground of the patches of a mosaic, in metres; `regions` in a projected CRS."""
    if spec.extent_m:
        return spec.extent_m
    centres = regions.geometry.centroid
    units = units_per_metre(np.column_stack([centres.x, centres.y]), regions.crs)
    return math.sqrt(float(np.median(regions.area / np.prod(units, axis=1))))


def mosaic_files(spec: MosaicImages) -> list[str]:
    """The raster files of a mosaic, as the spec names them."""
    return [spec.mosaic] if isinstance(spec.mosaic, str) else list(spec.mosaic)


@dataclass
class _Images:
    """The images of a source, one per row, before they are decoded; `batches` yields their pixels in the same order."""

    region: np.ndarray
    image_ids: list[str]
    lonlat: np.ndarray
    files: list[str]
    batches: Iterator[np.ndarray]
    rows: int
    band_names: list[str] = field(default_factory=lambda: list(RGB))
    dtype: str = "uint8"
    dropped: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    notes_after: Callable[[], list[str]] = list


def _files(spec: RegionImages, context: Context, report: SourceReport) -> _Images:
    ids = context.ids.ids
    names = [spec.files.replace("{region_id}", region_id) for region_id in ids]
    paths = context.paths(names, f"{report.key}.files")
    region = np.array([row for row, path in enumerate(paths) if path.is_file()], np.int64)
    if not len(region):
        raise UserError(Problem(f"none of the {len(paths)} files exists; the first would be {names[0]}", paths[0]))
    return _Images(
        region,
        [ids[row] for row in region],
        _centroids_lonlat(context.regions)[region],
        [names[row] for row in region],
        decode_pictures([paths[row] for row in region], spec.height_width),
        rows=len(paths),
    )


def _points(spec: PointImages, context: Context, report: SourceReport) -> _Images:
    key, index = report.key, context.point_index
    table = context.path(spec.points, f"{key}.points")
    points = read_points(table, {"image": spec.image}, spec, context.access, key)
    image = file_names(points.columns, spec.image, table, f"{key}.image")
    names = np.array(image.fill_null("").to_list(), dtype=object)
    rows, region = index.pairs(points.lon, points.lat)
    if not len(rows):
        raise UserError(Problem(index.explain_no_match(points.lon, points.lat), table))
    inside = np.zeros(len(names), bool)
    inside[rows] = True
    named, located = names != "", np.isfinite(points.lon)
    repeated = np.ones(len(names), bool)
    repeated[np.unique(names.astype(str), return_index=True)[1]] = False
    dropped = {
        "without the path of an image": ~named,
        "without a usable position": named & ~located,
        "an image listed before": named & located & repeated,
        "outside every region": named & located & ~repeated & ~inside,
    }
    valid = (named & ~repeated)[rows]
    if not valid.any():
        raise UserError(Problem(f"no row has the path of an image in column '{spec.image}'", table, key=f"{key}.image"))
    rows, region = rows[valid], region[valid]
    order = np.argsort(region, kind="stable")
    rows, region = rows[order], region[order]
    files = names[rows].tolist()
    several = in_several(rows)
    return _Images(
        region,
        files,
        np.stack([points.lon[rows], points.lat[rows]], 1),
        files,
        decode_pictures(context.paths(files, f"{key}.image", table), spec.height_width),
        rows=len(points),
        dropped={reason: int(mask.sum()) for reason, mask in dropped.items() if mask.any()},
        notes=points.notes + [f"images that lie in several regions, and stand in each: {several}"] * bool(several),
    )


def _patches(spec: MosaicImages, context: Context, report: SourceReport) -> _Images:
    regions, names = context.regions, mosaic_files(spec)
    paths = context.paths(names, f"{report.key}.mosaic")
    mosaic = open_mosaic(paths, spec.bands, crs=spec.crs, nodata=spec.nodata, access=context.access)
    bands = mosaic.bands
    extent_m = patch_extent_m(spec, regions)
    centres = regions.geometry.centroid
    return _Images(
        np.arange(len(regions), dtype=np.int64),
        context.ids.ids,
        _centroids_lonlat(regions),
        ["+".join(names)] * len(regions),
        cut_patches(mosaic, np.stack([centres.x, centres.y], 1), regions.crs, extent_m, spec.height_width),
        rows=len(regions),
        band_names=[band.name for band in bands],
        dtype="uint8" if all(band.dtype == "uint8" for band in bands) else "float32",
        notes=[f"patches of {extent_m:.0f} m"],
        notes_after=mosaic.notes,
    )


class _Missing:
    """Counts the pixels that one band lacks and others have."""

    def __init__(self, bands: int) -> None:
        self._lacking, self._any = np.zeros(bands, np.int64), 0

    def add(self, batch: np.ndarray) -> None:
        """Count pixels of float32[k, bands, h, w]; those of uint8 are all present."""
        if batch.dtype != np.uint8:
            present = np.isfinite(batch)
            any_present = present.any(1, keepdims=True)
            self._lacking += (any_present & ~present).sum((0, 2, 3))
            self._any += int(any_present.sum())

    def notes(self, names: list[str]) -> list[str]:
        """A sentence on the bands that lack many pixels."""
        share = self._lacking / max(self._any, 1)
        lacking = np.flatnonzero(share > MANY_MISSING)
        if not len(lacking):
            return []
        bands = list_some(f"{names[i]} ({share[i]:.0%})" for i in lacking)
        return [
            f"bands without values where other bands have some: {bands}. Rasters side by side are stacked as bands, "
            "not joined; to join them, make one file first, such as with `gdalbuildvrt OUT.vrt WEST.tif EAST.tif`"
        ]


def _write(images: _Images, size: tuple[int, int], context: Context, name: str, stage: Stage) -> dict[str, Any]:
    folder = f"images/{name}"
    valid: list[np.ndarray] = []
    missing = _Missing(len(images.band_names))

    def present() -> Iterator[np.ndarray]:
        for batch in images.batches:
            if batch.dtype == np.uint8:
                valid.append(np.ones(len(batch), bool))
            else:
                valid.append(np.isfinite(batch).any((1, 2, 3)))
            missing.add(batch)
            stage.advance(len(batch))
            if valid[-1].any():
                yield batch[valid[-1]]

    shape = (len(images.band_names), *size)
    shards = write_shards(
        lambda file: context.staging.new(f"{folder}/{file}"), present(), shape, images.dtype, images.band_names
    )
    rows = np.flatnonzero(np.concatenate(valid))
    region, ids = images.region[rows], context.ids.ids
    index = pd.DataFrame(
        {
            "image_id": [images.image_ids[row] for row in rows],
            "region": region,
            "region_id": [ids[row] for row in region],
            "lon": images.lonlat[rows, 0],
            "lat": images.lonlat[rows, 1],
            "file": [images.files[row] for row in rows],
        }
    )
    index.to_parquet(context.staging.new(f"{folder}/index.parquet"), index=False)
    empty = len(images.region) - len(rows)
    return {
        "name": name,
        "images": int(index["image_id"].nunique()),
        "bands": shape[0],
        "band_names": images.band_names,
        "size": list(size),
        "dtype": images.dtype,
        "shards": shards.files,
        "band_mean": shards.mean.tolist(),
        "band_std": shards.std.tolist(),
        "content_hash": hash_json([shards.digest, index.to_dict("list")]),
        "rows": images.rows,
        "regions": int(np.unique(region).size),
        "dropped": images.dropped | ({"no valid pixel": empty} if empty else {}),
        "notes": [*images.notes, *images.notes_after(), *missing.notes(images.band_names)],
    }


def _centroids_lonlat(regions: gpd.GeoDataFrame) -> np.ndarray:
    lonlat = regions.geometry.centroid.to_crs("EPSG:4326")
    return np.stack([lonlat.x, lonlat.y], 1)
