"""Files that users give, in every format that is read, and how they are read. `FORMATS` names them."""

from __future__ import annotations

import gzip
import json
import shutil
import zipfile
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import rasterio
import shapely
import yaml
from campaigns.attempts import Case
from campaigns.mutations import Change, change_bytes, change_json, change_text, change_tree, change_zip, dump
from helpers.rasters import write_raster
from helpers.small_city import IDS, Sources, lonlat, squares
from PIL import Image
from rasterio.shutil import copy as copy_raster

from urbankit import registry
from urbankit.bench.suite import load_plan
from urbankit.city.datasets.base import DataFolder, Regions
from urbankit.city.io.columns import data_columns, numbers, texts
from urbankit.city.io.pictures import decode_picture
from urbankit.city.io.raster import zonal
from urbankit.city.io.raster_file import open_raster
from urbankit.city.io.tables import read
from urbankit.city.io.vectors import read_vector
from urbankit.city.points import PointIndex
from urbankit.city.prepare.datasets import CityDataset
from urbankit.city.spec import CitySpec, load_city_spec
from urbankit.recipe.recipe import Recipe
from urbankit.utils.errors import UserError

Make = Callable[[Path], Case]
"""Writes the files of a case into an empty folder."""

COLUMNS = {
    "id": [f"r{i}" for i in range(200)],
    "v": [i / 7 for i in range(200)],
    "c": ["park", "shop"] * 100,
    "t": ["2024-05-15 10:00:00"] * 200,
}
SQUARES = gpd.GeoDataFrame({"id": IDS}, geometry=squares(), crs="EPSG:32618")

RECIPE = """
city: {demo: {regions: 50}}
modalities: {place: {name: geoclip, features: 8}, poi: {name: poi_counts}}
views: {poi: {name: poi}, distance: {name: distance}}
method: {name: urbanmmcl, dim: 8, graph_encoder: {name: vgae, latent: 8}}
tasks: {co: {}, land_use: {head: {name: linear}}}
pretrain: {epochs: 3, batch_size: 32, learning_rate: 0.01}
finetune: {epochs: 3, update: [projections]}
evaluation: {splits: [random, spatial], seeds: [0, 1], floors: [mean, location], min_class_size: 1}
seed: 1
"""
CITY = """
name: c
regions: {file: r.gpkg, id: id}
images: {rsi: {files: "tiles/{region_id}.png", size: [8, 8]}, svi: {points: svi.csv, size: [4, 6]}}
captions: {rsi: {file: texts.jsonl, region: id}}
poi: {points: poi.csv, lon: lon, lat: lat, category: kind}
flows: {file: flows.csv, origin: a, destination: b, weight: w}
tables: {t: {file: t.csv, region: id, columns: [v]}}
targets:
  price: {table: t.csv, region: id, column: v, unit: m}
  people: {raster: x.tif, statistic: sum}
"""
SUITE = """
seeds: [0, 1]
cities: {demo: {set: {city: {demo: {regions: 40}}}}}
runs: {one: r.yaml, "without poi": {recipe: r.yaml, set: {modalities: {poi: null}}}}
overrides: {pretrain.epochs: 2, evaluation.seeds: [0]}
tables: {main: {rows: [one], tasks: [co], metrics: [rmse]}}
"""

VRT = """<VRTDataset rasterXSize="30" rasterYSize="30">
  <SRS>EPSG:32618</SRS>
  <GeoTransform>500000, 100, 0, 4503000, 0, -100</GeoTransform>
  <VRTRasterBand dataType="Byte" band="1">
    <SimpleSource>
      <SourceFilename relativeToVRT="1">x.tif</SourceFilename>
      <SourceBand>1</SourceBand>
      <SrcRect xOff="0" yOff="0" xSize="30" ySize="30"/>
      <DstRect xOff="0" yOff="0" xSize="30" ySize="30"/>
    </SimpleSource>
  </VRTRasterBand>
</VRTDataset>
"""


def _schema_names(schema: Any) -> list[str]:
    """The keys that a JSON Schema has anywhere."""
    names, remaining = set[str](), [schema]
    while remaining:
        value = remaining.pop()
        if isinstance(value, dict):
            names |= set(value.get("properties", {}))
            remaining += value.values()
        elif isinstance(value, list):
            remaining += value
    return sorted(names)


def _change_yaml(names: list[str]) -> Change:
    """Change the tree of a YAML text, with keys of its JSON Schema, or its text."""

    def change(rng: Any, content: bytes) -> bytes:
        if rng.random() < 0.4:
            return change_text(rng, content)
        return dump(change_tree(rng, yaml.safe_load(content), names))

    return change


def _text_file(name: str, text: str, load: Callable[[Path], object], schema: Any, folder: Path) -> Case:
    path = folder / name
    path.write_text(text)
    (folder / "r.yaml").write_text(RECIPE) if name == "suite.yaml" else None
    return Case([(path, _change_yaml(_schema_names(schema)))], lambda: load(path))


def _load_plan(path: Path) -> str:
    return str(load_plan(path).runs)


def _table(suffix: str, folder: Path) -> Case:
    path, frame = folder / f"t{suffix}", pl.DataFrame(COLUMNS)
    if suffix == ".parquet":
        frame.with_columns(l=pl.Series([[1.0, 2.0]] * 200), d=pl.col("t").str.to_datetime()).write_parquet(path)
    else:
        text = frame.write_ndjson() if suffix == ".jsonl" else frame.write_csv(separator=",\t"[suffix == ".tsv"])
        path.write_text(text)

    def load() -> None:
        frame = read(path, {"region": "id"}, "t")
        texts(frame, "id", path, "t")
        for name in data_columns(frame, {"id"}, path, "t").names:
            with suppress(UserError):
                numbers(frame, name, path, "t")

    return Case([(path, change_bytes if suffix == ".parquet" else change_text)], load)


def _packed_table(suffix: str, folder: Path) -> Case:
    """Packed tables, which are refused whatever they hold."""
    path = folder / f"t{suffix}"
    path.write_bytes(
        gzip.compress(pl.DataFrame(COLUMNS).write_csv().encode())
        if suffix.endswith(".gz")
        else b"\x28\xb5\x2f\xfd" * 99
    )

    def load() -> None:
        with suppress(UserError):  # the unchanged file is refused as well
            read(path, {"region": "id"}, "t")

    return Case([(path, change_bytes)], load)


def _vector(suffix: str, folder: Path) -> Case:
    path, frame = folder / f"r{suffix}", SQUARES.to_crs("EPSG:4326")
    if suffix == ".parquet":
        frame.to_parquet(path)
    elif suffix == ".zip":
        frame.to_file(folder / "r.shp")
        with zipfile.ZipFile(path, "w") as archive:
            for part in sorted(folder.glob("r.*")):
                if part != path:
                    archive.write(part, part.name)
                    part.unlink()
    else:
        frame.to_file(path)
    changes: dict[str, Change] = {".geojson": change_json, ".zip": change_zip}
    parts = sorted(folder.glob("r.*"))
    files = [
        (part, change_text if part.suffix in (".prj", ".cpg") else changes.get(suffix, change_bytes)) for part in parts
    ]
    return Case(files, lambda: len(read_vector(path, "regions")))


def _raster(suffix: str, folder: Path, **options: Any) -> Case:
    path, cells = folder / f"x{suffix}", np.arange(900, dtype=np.uint8).reshape(30, 30)
    tiff = write_raster(folder / "x.tif", cells, north=4_503_000, **options)
    files: list[tuple[Path, Change]] = [(path, change_bytes)]
    if suffix == ".vrt":
        path.write_text(VRT)
        files = [(path, change_text), (tiff, change_bytes)]
    elif suffix != ".tif":
        drivers = {".img": "HFA", ".jp2": "JP2OpenJPEG", ".png": "PNG", ".jpg": "JPEG", ".asc": "AAIGrid"}
        with rasterio.open(tiff) as source:
            copy_raster(source, path, driver=drivers[suffix])
        tiff.unlink()
        files = [
            (part, change_text if part.suffix in (".xml", ".asc", ".prj", ".wld") else change_bytes)
            for part in sorted(folder.iterdir())
        ]

    def load() -> None:
        zonal(path, SQUARES, "mean")
        with open_raster(path) as raster:
            raster.read(1)

    return Case(files, load)


def _picture(suffix: str, folder: Path) -> Case:
    path = folder / f"p{suffix}"
    Image.effect_noise((24, 24), 60).convert("RGB").save(path)
    return Case([(path, change_bytes)], lambda: decode_picture(path, (8, 8)))


def _dataset(name: str, files: list[tuple[Path, Change]], base: Path, **keys: Any) -> Case:
    """A dataset, read for nine square regions."""
    params = registry.get("dataset", name).Params(**keys)
    frame = SQUARES.rename(columns={"id": "region_id"}).assign(area_km2=1.0)
    regions = Regions(frame, PointIndex(frame))

    def load() -> None:
        of_city = CityDataset(name, params, DataFolder(base))
        _ = of_city.files, of_city.keys, of_city.region_ids
        with of_city._reading(None):
            of_city.dataset.read(of_city.data, regions)

    return Case(files, load)


def _benchmark(layout: str, folder: Path) -> Case:
    (folder / "b").mkdir()
    n, rng = len(IDS), np.random.default_rng(0)
    arrays = {"mobility_adj": (n, n), "poi_similarity": (n, n), "crime_counts": (n,), "check_counts": (n, 1)}
    other = {
        "mob-adj": (1, n, n),
        "mob_dist": (n, n),
        "poi_dist": (n, 5),
        "landUse_dist": (n, 4),
        "crime_counts": (n, 1),
    }
    for name, shape in (arrays if layout == "hrep" else other).items():
        np.save(folder / f"b/{name}.npy", rng.integers(0, 9, shape).astype(float))
    if layout == "hrep":
        (folder / "b/mh_cd.json").write_text(json.dumps({str(i): i % 3 for i in range(n)}))
    files = [
        (path, change_json if path.suffix == ".json" else _change_array) for path in sorted((folder / "b").iterdir())
    ]
    return _dataset("benchmark", files, folder, layout=layout, folder="b")


PICKLE = b"cos\nsystem\n(S'exit'\ntR."


def _change_array(rng: Any, content: bytes) -> bytes:
    """Change an `.npy` file, or put a pickle that runs a command in its place."""
    draw = rng.random()
    if draw < 0.1:
        header = content[:128].replace(b"'<f8'", b"'|O' ")
        return change_bytes(rng, header + PICKLE) if draw < 0.05 else header + PICKLE
    return change_text(rng, content) if draw < 0.4 else change_bytes(rng, content)


def _osm(suffix: str, folder: Path) -> Case:
    import osmium  # an optional package

    path = folder / f"x{suffix}"
    corners = [tuple(map(float, lonlat(x, y))) for x, y in ((0, 0), (900, 0), (900, 900), (0, 900), (1500, 500))]
    mutable = osmium.osm.mutable
    rows = [mutable.Node(id=i + 1, location=corner, version=1) for i, corner in enumerate(corners)]
    rows += [
        mutable.Node(id=10 + i, location=corners[i], tags={"amenity": "cafe", "name": "Кафе"}, version=1)
        for i in range(5)
    ]
    ways = [
        mutable.Way(id=1, nodes=[1, 2, 3, 4, 1], tags={"building": "yes", "building:levels": "3"}, version=1),
        mutable.Way(id=2, nodes=[1, 2, 5], tags={"highway": "primary"}, version=1),
        mutable.Way(id=3, nodes=[1, 2, 3, 4, 1], tags={"landuse": "residential"}, version=1),
    ]
    relation = mutable.Relation(
        id=1, members=[("w", 3, "outer")], tags={"type": "multipolygon", "leisure": "park"}, version=1
    )
    header = osmium.io.Header()
    header.add_box(osmium.osm.Box(*(corners[0][0] - 1, corners[0][1] - 1, corners[2][0] + 1, corners[2][1] + 1)))
    with osmium.SimpleWriter(str(path), header=header, overwrite=True) as writer:
        for node in rows:
            writer.add_node(node)
        for way in ways:
            writer.add_way(way)
        writer.add_relation(relation)
    change = change_text if suffix == ".osm" else change_bytes
    return _dataset("osm", [(path, change)], folder, file=path.name)


def _gtfs(folder: Path) -> Case:
    stops = {"a": (500, 500), "b": (1500, 500), "c": (2500, 500)}
    degrees = {name: lonlat(*position) for name, position in stops.items()}
    tables = {
        "stops": "stop_id,stop_name,stop_lat,stop_lon\n"
        + "\n".join(f"{name},Stop {name},{lat},{lon}" for name, (lon, lat) in degrees.items()),
        "trips": "route_id,service_id,trip_id\nr1,week,t1\nr1,week,t2\nr2,saturday,t3",
        "stop_times": "trip_id,arrival_time,departure_time,stop_id,stop_sequence\nt1,07:30:00,07:30:00,a,1\nt1,,,b,2\n"
        "t1,07:50:00,07:50:00,c,3\nt2,24:30:00,24:30:00,a,1\nt2,24:45:00,24:45:00,b,2\nt3,08:00:00,08:00:00,c,1\n"
        "t3,08:20:00,08:20:00,a,2",
        "calendar": "service_id,monday,tuesday,wednesday,thursday,friday,saturday,sunday,start_date,end_date\n"
        "week,1,1,1,1,1,0,0,20240513,20240517\nsaturday,0,0,0,0,0,1,0,20240513,20240519",
        "calendar_dates": "service_id,date,exception_type\nweek,20240513,2",
        "frequencies": "trip_id,start_time,end_time,headway_secs\nt3,08:00:00,09:00:00,1800",
    }
    with zipfile.ZipFile(folder / "feed.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in tables.items():
            archive.writestr(f"{name}.txt", text)
    return _dataset("gtfs", [(folder / "feed.zip", change_zip)], folder, file="feed.zip")


def _overture(folder: Path) -> Case:
    lon, lat = lonlat(np.arange(100) * 30, np.arange(100) * 30)
    columns = {
        "id": [str(i) for i in range(100)],
        "geometry": pa.array(shapely.to_wkb(shapely.points(lon, lat)).tolist(), pa.binary()),
        "categories": [{"primary": ["cafe", "museum"][i % 2], "alternate": ["shop"]} for i in range(100)],
        "confidence": [0.5] * 100,
    }
    pq.write_table(pa.table(columns), folder / "places.parquet")
    path = folder / "places.parquet"
    return _dataset("overture", [(path, change_bytes)], folder, file=path.name, confidence=0.1)


def small_sources(folder: Path) -> Sources:
    """Sources of a city of nine regions, of every kind."""
    folder.mkdir(exist_ok=True)
    sources = Sources(folder, {"name": "small", "regions": {"file": "regions.gpkg", "id": "id"}})
    sources.regions()
    write_raster(folder / "people.tif", np.arange(900, dtype=np.float32).reshape(30, 30), north=4_503_000, nodata=-1)
    for number in range(9):
        Image.new("RGB", (12, 8), (20 * number, 0, 0)).save(folder / f"{IDS[number]}.png")
    lon, lat = lonlat(np.arange(60) * 50, np.arange(60) * 50)
    sources.csv("poi.csv", lon=lon, lat=lat, kind=["cafe", "park"] * 30)
    sources.csv("flows.csv", a=IDS[:5], b=IDS[1:6], trips=[1, 2, 3, 4, 10], time=["2024-05-15 10:00"] * 5)
    sources.csv("census.csv", id=IDS, age=np.arange(9.0), use=list("aabbaabba"))
    (folder / "texts.jsonl").write_text("\n".join(json.dumps({"id": name, "text": f"tile {name}"}) for name in IDS))
    sources.spec |= {
        "images": {"rsi": {"files": "{region_id}.png", "size": [4, 6]}},
        "captions": {"rsi": {"file": "texts.jsonl", "region": "id"}},
        "poi": {"points": "poi.csv", "lon": "lon", "lat": "lat", "category": "kind"},
        "flows": {"file": "flows.csv", "origin": "a", "destination": "b", "weight": "trips", "time": "time"},
        "tables": {"census": {"file": "census.csv", "region": "id", "columns": ["age"]}},
        "targets": {
            "people": {"raster": "people.tif", "statistic": "sum"},
            "use": {"table": "census.csv", "region": "id", "column": "use", "kind": "classification"},
        },
    }
    return sources


def _sources(folder: Path) -> Case:
    """A city whose sources are changed, prepared anew each time."""
    sources = small_sources(folder)
    changes: dict[str, Change] = {".csv": change_text, ".jsonl": change_text}
    files = [(path, changes.get(path.suffix, change_bytes)) for path in sorted(folder.iterdir())]

    def load() -> int:
        try:
            return sources.prepare(out=folder.parent / "prepared").n_regions
        finally:
            shutil.rmtree(folder.parent / "prepared", ignore_errors=True)

    return Case(files, load)


FORMATS: dict[str, Make] = {
    "recipe": partial(_text_file, "x.yaml", RECIPE, lambda path: Recipe.load(path), Recipe.model_json_schema()),
    "city file": partial(_text_file, "city.yaml", CITY, load_city_spec, CitySpec.model_json_schema()),
    "suite": partial(_text_file, "suite.yaml", SUITE, _load_plan, Recipe.model_json_schema()),
    **{f"table {suffix}": partial(_table, suffix) for suffix in (".csv", ".tsv", ".jsonl", ".parquet")},
    **{f"packed table {suffix}": partial(_packed_table, suffix) for suffix in (".csv.gz", ".csv.zst")},
    **{
        f"vector {suffix}": partial(_vector, suffix)
        for suffix in (".gpkg", ".geojson", ".parquet", ".shp", ".zip", ".fgb")
    },
    **{
        f"raster {suffix}": partial(_raster, suffix)
        for suffix in (".tif", ".vrt", ".img", ".jp2", ".png", ".jpg", ".asc")
    },
    "raster .tif deflate": partial(_raster, ".tif", compress="deflate", tiled=True, blockxsize=16, blockysize=16),
    **{f"picture {suffix}": partial(_picture, suffix) for suffix in (".png", ".jpg", ".webp", ".tif", ".gif", ".bmp")},
    **{f"benchmark {layout}": partial(_benchmark, layout) for layout in ("hrep", "hafusion")},
    **{f"osm {suffix}": partial(_osm, suffix) for suffix in (".osm.pbf", ".osm")},
    "gtfs": _gtfs,
    "overture": _overture,
    "sources": _sources,
}
