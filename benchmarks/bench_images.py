"""Images: how fast sources are prepared, and how fast training reads them beside the model's own speed.

    python benchmarks/bench_images.py [--pictures 10000] [--patches 5000] [--side 64]

Prints images a second: pictures decoded into shards, patches cut from an RGB mosaic in another CRS, random batches of
64 read from the shards, one training step of the small ViT on a batch that is in memory already, and the same
steps when each batch is read first, with their share of the bare speed.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from time import perf_counter, process_time
from types import SimpleNamespace
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely

UTM, EAST, NORTH = "EPSG:32618", 500_000.0, 4_500_000.0
BATCH = 64


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=10_000)
    parser.add_argument("--patches", type=int, default=5_000)
    parser.add_argument("--side", type=int, default=64, help="side of the prepared images in pixels")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder)
        regions = grid(70)
        pictures = prepare_pictures(data, regions, options.pictures, options.side)
        prepare_patches(data, regions.head(options.patches), options.side)
        read_and_train(pictures)


def grid(side: int) -> gpd.GeoDataFrame:
    """`side` x `side` square regions of 500 m."""
    column, row = np.meshgrid(np.arange(side), np.arange(side))
    x, y = EAST + 500 * column.ravel(), NORTH + 500 * row.ravel()
    shapes = shapely.box(x, y, x + 500, y + 500)
    return gpd.GeoDataFrame({"region_id": [str(i) for i in range(len(shapes))]}, geometry=shapes, crs=UTM)


def prepare_pictures(data: Path, regions: gpd.GeoDataFrame, number: int, side: int) -> Any:
    from PIL import Image

    from urbankit.city.spec import PointImages

    rng = np.random.default_rng(0)
    y, x = np.indices((160, 240))
    (data / "svi").mkdir()
    names = [f"svi/{i}.jpg" for i in range(number)]
    for name in names:
        waves = [128 + 90 * np.sin((x * a + y * b) / 40) for a, b in rng.normal(size=(3, 2))]
        pixels = np.stack(waves, -1) + rng.normal(0, 12, (160, 240, 1))
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(data / name, quality=88)
    spots = regions.geometry.centroid.to_crs("EPSG:4326").iloc[rng.integers(0, len(regions), number)]
    pd.DataFrame({"image": names, "lon": spots.x, "lat": spots.y}).to_csv(data / "svi.csv", index=False)
    return prepare("pictures decoded", PointImages(points="svi.csv", size=side), regions, data)


def prepare_patches(data: Path, regions: gpd.GeoDataFrame, side: int) -> None:
    import rasterio
    from rasterio.transform import from_origin

    from urbankit.city.spec import MosaicImages

    west, south, east, north = regions.to_crs("EPSG:4326").total_bounds
    cells = np.random.default_rng(0).integers(0, 255, (3, 4000, 4000), np.uint8)
    step = max(east - west, north - south) / 4000
    with rasterio.open(
        data / "rgb.tif", "w", driver="GTiff", count=3, height=4000, width=4000, dtype="uint8", crs="EPSG:4326",
        transform=from_origin(west, north, step, step), tiled=True, compress="deflate",
    ) as file:  # fmt: skip
        file.write(cells)
    prepare("patches cut", MosaicImages(mosaic="rgb.tif", extent_m=1000, size=side), regions, data)


def prepare(what: str, spec: Any, regions: gpd.GeoDataFrame, data: Path) -> Any:
    from urbankit.city.image_source import ImageSource
    from urbankit.city.prepare.context import Context
    from urbankit.city.prepare.images import build_images
    from urbankit.city.report import SourceReport

    context = Context(data, data / "prepared", built_regions=regions)
    started = perf_counter(), process_time()
    entry = build_images(spec, context, SourceReport(f"images.{what}")).entry["image"]
    show(what, entry["images"], started)
    return ImageSource.open(context.out / "images" / what, entry)


def read_and_train(source: Any, steps: int = 30) -> None:
    import torch

    from urbankit.modalities.vit import ViT

    rng = np.random.default_rng(0)
    batches = [rng.integers(0, len(source), BATCH) for _ in range(steps)]
    started = perf_counter(), process_time()
    for rows in batches * 10:
        source.read(rows)
    show("read in random batches", 10 * steps * BATCH, started)

    city = SimpleNamespace(images=lambda name: source, image_sources=["svi"], n_regions=4900, content_hash="")
    model = ViT(ViT.Params(), city, "svi", dim=64)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)

    def step(images: torch.Tensor) -> None:
        optimizer.zero_grad()
        model.project(model(images)).square().mean().backward()
        optimizer.step()

    held = model.load(batches[0])
    step(held)
    bare = fed = 0.0
    for rows in batches:  # in turns, so that another program on the machine slows both alike
        begun = perf_counter()
        step(held)
        between = perf_counter()
        step(model.load(rows))
        bare, fed = bare + between - begun, fed + perf_counter() - between
    print(f"{'trained, batch in memory':26} {steps * BATCH / bare:9,.0f} images/s")
    print(f"{'trained, batches read':26} {steps * BATCH / fed:9,.0f} images/s, {bare / fed:.0%} of the bare speed")


def show(what: str, images: int, started: tuple[float, float]) -> None:
    """Print the speed since `started`, and the processors' own seconds, which a shared machine does not stretch."""
    wall, processor = perf_counter() - started[0], process_time() - started[1]
    print(f"{what:26} {images / wall:9,.0f} images/s   {images:,} in {wall:.1f} s, {processor:.1f} s of processor")


if __name__ == "__main__":
    main()
