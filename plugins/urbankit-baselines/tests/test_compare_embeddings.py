"""The suite `compare-embeddings`, on small files in the layout of their authors."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import geopandas as gpd
import numpy as np
import pytest
import rasterio
import yaml
from rasterio.transform import from_bounds
from shapely import box

from urbankit import City
from urbankit.bench.suite import load_plan
from urbankit.pipeline.run import run
from urbankit.registry.recipes import find_suite
from urbankit.utils.progress import Progress

SHAPE = (40, 40)
GRID = "grid_-74.05_40.65"
QUICK = {
    "pretrain.epochs": 1,
    "finetune.epochs": 1,
    "evaluation": {"seeds": [0], "floors": ["mean"], "controls": [], "min_class_size": 1, "splits": ["random"]},
}


def write_raster(path: Path, cells: np.ndarray, regions: gpd.GeoDataFrame, names: list[str] | None = None) -> None:
    """Write cells [bands, h, w] over the regions."""
    path.parent.mkdir(parents=True, exist_ok=True)
    transform = from_bounds(*regions.total_bounds, SHAPE[1], SHAPE[0])
    profile = {"driver": "GTiff", "count": len(cells), "height": SHAPE[0], "width": SHAPE[1], "dtype": cells.dtype}
    with rasterio.open(path, "w", crs=regions.crs, transform=transform, **profile) as file:
        file.write(cells)
        file.descriptions = names or [None] * len(cells)


@pytest.fixture(scope="module")
def suite(tiny_city: City, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The suite on the tiny city, whose sources have the files that the suite names."""
    sources, regions = Path(tiny_city.manifest["sources"]), tiny_city.regions
    random = np.random.default_rng(0)
    codes = random.integers(-127, 128, (64, *SHAPE)).astype(np.int8)
    write_raster(sources / "alphaearth/2023/18N/tile.tiff", codes, regions, [f"A{i:02d}" for i in range(64)])
    tile = sources / "tessera/global_0.1_degree_representation/2023" / GRID
    tile.mkdir(parents=True)
    np.save(tile / f"{GRID}.npy", random.integers(-127, 128, (*SHAPE, 128)).astype(np.int8))
    np.save(tile / f"{GRID}_scales.npy", np.full(SHAPE, 0.02, np.float32))
    mask = np.ones((1, *SHAPE), np.uint8)
    write_raster(sources / f"tessera/global_0.1_degree_tiff_all/{GRID}.tiff", mask, regions)
    west, south, east, north = regions.total_bounds
    edges = np.linspace(west, east, 9)
    chips = [box(left, south, right, north) for left, right in pairwise(edges)]
    vectors = list(random.normal(size=(8, 32)).astype(np.float32))
    frame = gpd.GeoDataFrame({"embeddings": vectors, "date": "2023-06-01"}, geometry=chips, crs=regions.crs)
    frame.to_crs("EPSG:4326").to_parquet(sources / "clay.parquet")
    tree = yaml.safe_load(find_suite("compare-embeddings").read_text(encoding="utf-8"))
    tree["cities"] = {"new-york": {"recipe": "urbanmmcl", "set": {"city": {"prepared": str(tiny_city.path)}}}}
    tree["overrides"] |= QUICK
    path = tmp_path_factory.mktemp("suite") / "compare.yaml"
    path.write_text(yaml.safe_dump(tree, allow_unicode=True), encoding="utf-8")
    return path


WIDTHS = {"AlphaEarth": 64, "TESSERA": 128, "Clay": 32}
DIM = 64
"""The width of a modality in the embedding of UrbanMMCL, `method.dim` of the recipe new-york."""


def test_rows_are_the_embeddings_alone_and_joined_with_urbanmmcl(suite: Path, tmp_path: Path) -> None:
    widths = {}
    for one in load_plan(suite).select([*WIDTHS, "UrbanMMCL", "UrbanMMCL + all"]):
        finished = run(one.recipe, tmp_path / one.row, progress=Progress(quiet=True))
        assert np.isfinite(finished.metrics.query("metric in ['mae', 'accuracy']")["value"]).all()
        widths[one.row] = len(finished.embeddings["embedding"][0])
    assert WIDTHS.items() <= widths.items()
    assert widths["UrbanMMCL + all"] == widths["UrbanMMCL"] + 3 * DIM
