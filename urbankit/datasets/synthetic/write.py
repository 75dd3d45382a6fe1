"""Write the source files of a synthetic city, for `urbankit prepare`."""

from __future__ import annotations

import json
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pyogrio

from urbankit.datasets.synthetic.activity import points_of_interest, trips
from urbankit.datasets.synthetic.air import air
from urbankit.datasets.synthetic.captions import satellite_captions, street_view_captions
from urbankit.datasets.synthetic.lattice import CRS
from urbankit.datasets.synthetic.model import CityModel, draw_model
from urbankit.datasets.synthetic.rasters import land_use_points, to_lonlat, write_rasters
from urbankit.datasets.synthetic.satellite import write_mosaic
from urbankit.datasets.synthetic.street import scenes, write_street_views
from urbankit.utils.errors import UserError
from urbankit.utils.progress import Progress
from urbankit.utils.removal import new_folder

_SMALLEST = 4

_CITY = """\
# A synthetic city: {regions} regions, seed {seed}. See docs/demo.md.
name: {name}
title: Synthetic city
crs: {crs}
regions: {{file: regions.gpkg, id: region_id}}
images:
  rsi: {{mosaic: [satellite.tif], extent_m: 960, size: 64, title: Satellite images}}
  svi: {{points: street_views.csv, image: image, lon: lon, lat: lat, size: [64, 96], title: Street views}}
captions:
  rsi: {{file: satellite_captions.jsonl, region: region_id, text: text}}
  svi: {{file: street_view_captions.jsonl, image: image, text: text}}
poi: {{points: pois.csv, category: category, lon: lon, lat: lat}}
flows:
  file: trips.parquet
  origin_lon: origin_lon
  origin_lat: origin_lat
  destination_lon: destination_lon
  destination_lat: destination_lat
  time: time
targets:
  co: {{raster: co.tif, statistic: mean, unit: "mg/m³", title: CO, description: Carbon monoxide in the air}}
  pm25: {{raster: pm25.tif, statistic: mean, unit: "µg/m³", title: PM2.5, description: Fine dust in the air}}
  population_density: {{raster: population.tif, statistic: density, unit: "people/km²", title: Population density}}
  land_use: {{points: land_use_points.parquet, label: land_use, lon: lon, lat: lat, title: Land use}}
"""


def write_demo(folder: str | Path, regions: int = 400, seed: int = 0, progress: Progress | None = None) -> Path:
    """Write the source files of a synthetic city to `folder` and return the path of its `city.yaml`.

    The same `regions` (at least 4) and `seed` (not negative) give the same bytes. The folder appears whole or
    not at all. Raises UserError when the folder holds something already or cannot be made, or when a number is
    out of range.
    """
    folder, progress = Path(folder).absolute(), progress or Progress(quiet=True)
    _check(folder, regions, seed)
    with ExitStack() as stack:
        try:
            temporary = stack.enter_context(new_folder(folder))
        except OSError as error:
            raise UserError(f"cannot write to {folder.parent}: {error.strerror}; choose another folder") from error
        _write_sources(temporary, draw_model(regions, seed), seed, progress)
    return folder / "city.yaml"


def _check(folder: Path, regions: int, seed: int) -> None:
    if regions < _SMALLEST:
        raise UserError(f"a synthetic city of {regions} regions is too small; ask for {_SMALLEST} or more")
    if seed < 0:
        raise UserError(f"seed {seed} is negative; use 0 or more")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{folder} exists and is not an empty folder; name another or remove it")


def _write_sources(folder: Path, model: CityModel, seed: int, progress: Progress) -> None:
    _write_regions(folder / "regions.gpkg", model)
    with progress.stage("demo satellite", model.lattice.height) as stage:
        write_mosaic(folder / "satellite.tif", model, seed, stage)
    _write_satellite_captions(folder, model, seed)
    _write_street_views(folder, model, seed, progress)
    _write_points(folder / "pois.csv", points_of_interest(model, seed))
    with progress.stage("demo trips"):
        _write_trips(folder / "trips.parquet", trips(model, seed))
    write_rasters(folder, model, air(model, seed), seed)
    land_use_points(model, seed).to_parquet(folder / "land_use_points.parquet", index=False)
    regions = len(model.lattice.city)
    text = _CITY.format(name=f"demo-{regions}-{seed}", regions=regions, seed=seed, crs=CRS)
    (folder / "city.yaml").write_text(text, encoding="utf-8")


def region_ids(model: CityModel) -> list[str]:
    """`r0001`, `r0002`, … in the order of `Lattice.city`."""
    n = len(model.lattice.city)
    digits = max(4, len(str(n)))
    return [f"r{number:0{digits}d}" for number in range(1, n + 1)]


def _nth(group: np.ndarray) -> np.ndarray:
    """For sorted `group`, 0, 1, 2 … within every run of equal values."""
    first = np.r_[True, group[1:] != group[:-1]] if len(group) else np.zeros(0, bool)
    index = np.arange(len(group))
    return index - np.maximum.accumulate(np.where(first, index, 0))


def _write_regions(path: Path, model: CityModel) -> None:
    polygons = model.lattice.polygons(model.lattice.city)
    frame = gpd.GeoDataFrame({"region_id": region_ids(model)}, geometry=polygons, crs=CRS)
    # A GeoPackage notes when it was written; the date is pinned so that a seed gives the same bytes.
    before = pyogrio.get_gdal_config_option("OGR_CURRENT_DATE")
    pyogrio.set_gdal_config_options({"OGR_CURRENT_DATE": "2024-01-01T00:00:00.000Z"})
    try:
        frame.to_file(path, driver="GPKG", layer="regions", engine="pyogrio")
    finally:
        pyogrio.set_gdal_config_options({"OGR_CURRENT_DATE": before})


def _write_satellite_captions(folder: Path, model: CityModel, seed: int) -> None:
    captions = zip(region_ids(model), satellite_captions(model, seed), strict=True)
    _write_lines(
        folder / "satellite_captions.jsonl", [{"region_id": region, "text": text} for region, text in captions]
    )


def _write_street_views(folder: Path, model: CityModel, seed: int, progress: Progress) -> None:
    views, ids = scenes(model, seed), region_ids(model)
    images = [f"street_views/{ids[region]}_{k}.jpg" for region, k in zip(views.region, _nth(views.region), strict=True)]
    with progress.stage("demo street views", len(images)) as stage:
        write_street_views(folder, images, views, stage)
    lon, lat = to_lonlat(views.xy)
    _write_csv(folder / "street_views.csv", pd.DataFrame({"image": images, "lon": lon.round(6), "lat": lat.round(6)}))
    captions = zip(images, street_view_captions(views, seed), strict=True)
    _write_lines(folder / "street_view_captions.jsonl", [{"image": image, "text": text} for image, text in captions])


def _write_points(path: Path, points: pd.DataFrame) -> None:
    lon, lat = to_lonlat(points[["x", "y"]].to_numpy())
    _write_csv(path, pd.DataFrame({"lon": lon.round(6), "lat": lat.round(6), "category": points["category"]}))


def _write_trips(path: Path, blocks: Iterable[pd.DataFrame]) -> None:
    schema = pa.schema(
        [(f"{end}_{axis}", pa.float64()) for end in ("origin", "destination") for axis in ("lon", "lat")]
        + [("time", pa.timestamp("s"))]
    )
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for block in blocks:
            columns = {"time": block["time"].to_numpy().astype("datetime64[s]")}
            for end in ("origin", "destination"):
                lon, lat = to_lonlat(block[[f"{end}_x", f"{end}_y"]].to_numpy())
                columns |= {f"{end}_lon": lon.round(6), f"{end}_lat": lat.round(6)}
            writer.write_table(pa.table({name: pa.array(columns[name]) for name in schema.names}, schema=schema))


def _write_csv(path: Path, frame: pd.DataFrame) -> None:
    frame.to_csv(path, index=False, lineterminator="\n")


def _write_lines(path: Path, rows: list[dict[str, str]]) -> None:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
