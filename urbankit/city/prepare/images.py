"""Image sources of a city: prepared once into shards of decoded, resized images, then read by memory map.

A source is one picture file a region, pictures taken at points, or patches cut from raster mosaics. All three become
the same shards and index, which `ImageSource` reads.
"""

from __future__ import annotations

import functools
import math
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd

from urbankit.city.io.patches import cut_patches, mosaic_bands
from urbankit.city.io.pictures import decode_pictures
from urbankit.city.io.shards import write_shards
from urbankit.city.prepare.points import PointIndex, explain_no_match, in_several, read_points
from urbankit.city.spec import MosaicImages, PointImages, RegionImages
from urbankit.utils.errors import Problem, Problems, UserError
from urbankit.utils.files import atomic_path, hash_json
from urbankit.utils.paths import resolve_inside
from urbankit.utils.progress import Progress, Stage


def prepare_images(
    name: str,
    spec: MosaicImages | RegionImages | PointImages,
    regions: gpd.GeoDataFrame,
    data_folder: Path,
    out_folder: Path,
    problems: Problems,
    progress: Progress,
) -> dict[str, Any] | None:
    """Prepare one image source into `out_folder`, its own, and return its entry for the city's manifest.

    `regions` has the columns `region_id` and `geometry`, in a projected CRS in metres. What is wrong goes to
    `problems` under `images.NAME`; the result is then None and nothing has been written.

    Missing is recorded: a region without a picture, or whose patch has no valid pixel, has no row in the index.
    A point on no region is dropped and counted; the image of a point in several has a row in each. Rows are
    sorted by region, then in the order of the source.

    The entry holds what `ImageSource.open` needs and, for the report, `rows` (read), `images` (kept), `regions` (with
    at least one image), `dropped` (reason to count) and `notes`.
    """
    key = f"images.{name}"
    find = {MosaicImages: _find_patches, RegionImages: _find_files, PointImages: _find_points}[type(spec)]
    try:
        found = find(spec, regions, Path(data_folder), problems, key)
        if found is None:
            return None
        with progress.stage(key, total=len(found.region)) as stage:
            return _write(name, found, spec.height_width, list(regions["region_id"]), Path(out_folder), stage)
    except UserError as error:
        problems.extend(Problem(one.message, one.file, one.line, one.key or key) for one in error.problems)
        return None


def patch_extent_m(spec: MosaicImages, regions: gpd.GeoDataFrame) -> float:
    """Side on the ground of the patches of a mosaic, in metres; `regions` in a projected CRS."""
    return spec.extent_m or math.sqrt(float(np.median(regions.area)))


@dataclass
class _Found:
    """The images of a source, one a row, before they are decoded; `batches` yields their pixels in the same order."""

    region: np.ndarray
    image_ids: list[str]
    lonlat: np.ndarray
    files: list[str]
    band_names: list[str]
    dtype: str
    batches: Iterator[np.ndarray]
    rows: int
    dropped: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def _find_files(
    spec: RegionImages, regions: gpd.GeoDataFrame, data_folder: Path, problems: Problems, key: str
) -> _Found:
    names = [spec.files.replace("{region_id}", str(region)) for region in regions["region_id"]]
    paths = _paths(data_folder, names, f"{key}.files")
    region = np.array([row for row, path in enumerate(paths) if path.is_file()], np.int64)
    if not len(region):
        raise UserError(Problem(f"none of the {len(paths)} files is there; the first would be {names[0]}", paths[0]))
    return _Found(
        region,
        [str(regions["region_id"].iloc[row]) for row in region],
        _centroids_lonlat(regions)[region],
        [names[row] for row in region],
        ["red", "green", "blue"],
        "uint8",
        decode_pictures([paths[row] for row in region], spec.height_width),
        rows=len(paths),
    )


def _find_points(
    spec: PointImages, regions: gpd.GeoDataFrame, data_folder: Path, problems: Problems, key: str
) -> _Found | None:
    (table,) = _paths(data_folder, [spec.points], f"{key}.points")
    points = read_points(table, {"image": spec.image}, spec.lon, spec.lat, problems, key)
    if points is None:
        return None
    names = np.array([name or "" for name in points.columns[spec.image].cast(str).to_list()], dtype=object)
    index = PointIndex(regions)
    rows, region = index.pairs(points.lon, points.lat)
    if not len(rows):
        raise UserError(Problem(explain_no_match(index, points.lon, points.lat), table))
    inside_any = np.zeros(len(names), bool)
    inside_any[rows] = True
    named = names != ""
    placed = np.isfinite(points.lon)
    again = np.ones(len(names), bool)
    again[np.unique(names.astype(str), return_index=True)[1]] = False
    dropped = {
        "without the path of an image": ~named,
        "without a usable position": named & ~placed,
        "an image listed before": named & placed & again,
        "outside every region": named & placed & ~again & ~inside_any,
    }
    use = (named & ~again)[rows]
    if not use.any():
        raise UserError(Problem(f"no row has the path of an image in column '{spec.image}'", table, key=f"{key}.image"))
    rows, region = rows[use], region[use]
    order = np.argsort(region, kind="stable")
    rows, region = rows[order], region[order]
    files = names[rows].tolist()
    several = in_several(rows)
    return _Found(
        region,
        files,
        np.stack([points.lon[rows], points.lat[rows]], 1),
        files,
        ["red", "green", "blue"],
        "uint8",
        decode_pictures(_paths(data_folder, files, f"{key}.image", table), spec.height_width),
        rows=len(points),
        dropped={reason: int(which.sum()) for reason, which in dropped.items() if which.any()},
        notes=[f"images that lie in several regions, and stand in each: {several}"] if several else [],
    )


def _find_patches(
    spec: MosaicImages, regions: gpd.GeoDataFrame, data_folder: Path, problems: Problems, key: str
) -> _Found:
    names = [spec.mosaic] if isinstance(spec.mosaic, str) else list(spec.mosaic)
    bands = mosaic_bands(_paths(data_folder, names, f"{key}.mosaic"), spec.bands)
    extent_m = patch_extent_m(spec, regions)
    centres = regions.geometry.centroid
    xy = np.stack([centres.x, centres.y], 1)
    return _Found(
        np.arange(len(regions), dtype=np.int64),
        [str(region) for region in regions["region_id"]],
        _centroids_lonlat(regions),
        ["+".join(names)] * len(regions),
        [band.name for band in bands],
        "uint8" if all(band.dtype == "uint8" for band in bands) else "float32",
        cut_patches(bands, xy, regions.crs, extent_m, spec.height_width),
        rows=len(regions),
        notes=[f"patches of {extent_m:.0f} m"],
    )


def _write(
    name: str, found: _Found, size: tuple[int, int], region_ids: list[str], folder: Path, stage: Stage
) -> dict[str, Any]:
    kept: list[np.ndarray] = []

    def present() -> Iterator[np.ndarray]:
        for batch in found.batches:
            valid = np.ones(len(batch), bool)
            if batch.dtype != np.uint8:
                valid = np.isfinite(batch).any((1, 2, 3))
            kept.append(valid)
            stage.advance(len(batch))
            if valid.any():
                yield batch[valid]

    shape = (len(found.band_names), *size)
    shards = write_shards(folder, present(), shape, found.dtype, found.band_names)
    keep = np.flatnonzero(np.concatenate(kept))
    region = found.region[keep]
    index = pd.DataFrame(
        {
            "image_id": [found.image_ids[row] for row in keep],
            "region": region,
            "region_id": [str(region_ids[row]) for row in region],
            "lon": found.lonlat[keep, 0],
            "lat": found.lonlat[keep, 1],
            "file": [found.files[row] for row in keep],
        }
    )
    with atomic_path(folder / "index.parquet") as temporary:
        index.to_parquet(temporary, index=False)
    for stale in set(folder.glob("shard-*.npy")) - {folder / file["file"] for file in shards.files}:
        stale.unlink()
    dropped = found.dropped | (
        {} if len(keep) == len(found.region) else {"no valid pixel": len(found.region) - len(keep)}
    )
    return {
        "name": name,
        "images": int(index["image_id"].nunique()),
        "bands": shape[0],
        "band_names": found.band_names,
        "size": list(size),
        "dtype": found.dtype,
        "shards": shards.files,
        "band_mean": shards.mean.tolist(),
        "band_std": shards.std.tolist(),
        "content_hash": hash_json([shards.digest, index.to_dict("list")]),
        "rows": found.rows,
        "regions": int(np.unique(region).size),
        "dropped": dropped,
        "notes": found.notes,
    }


def _paths(data_folder: Path, names: list[str], key: str, table: Path | None = None) -> list[Path]:
    """Each of `names` in the data folder. Raises UserError for the first that leaves it, by a symbolic link also.

    `table`: the file that names them, for the error.
    """
    root = os.path.realpath(data_folder)
    # Pictures share their folders: following links once a folder, not once a picture, makes this cheap.
    real_folder = functools.cache(os.path.realpath)
    paths = []
    for name in names:
        path = resolve_inside(data_folder, name)
        if path is not None:
            real = os.path.realpath(path) if path.is_symlink() else real_folder(path.parent)
        if path is None or os.path.commonpath([root, real]) != root:
            where = f"the path '{name}' leaves the data folder {data_folder}; put the file in it"
            raise UserError(Problem(where, table, key=key))
        paths.append(path)
    return paths


def _centroids_lonlat(regions: gpd.GeoDataFrame) -> np.ndarray:
    lonlat = regions.geometry.centroid.to_crs("EPSG:4326")
    return np.stack([lonlat.x, lonlat.y], 1)
