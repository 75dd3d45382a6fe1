"""The report of a large city in a browser: `python benchmarks/bench_report.py [--regions 10000] [--keep DIR]`

Fabricates a run on a lattice of regions whose borders wind (28 points a region), with four targets under two splits,
one image a region and two or three street views. Prints the seconds to build its page, the page's size, the seconds
from opening it in headless Chromium to the map that is drawn, and the milliseconds of a frame while the map is moved.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from time import perf_counter
from types import SimpleNamespace

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from helpers.browser import Browser, chromium

from urbankit.city.report import PrepareReport
from urbankit.evaluation.splits import make_split
from urbankit.evaluation.tasks import TaskData
from urbankit.report.page import write_report
from urbankit.runs.context import RunContext
from urbankit.runs.folder import Run
from urbankit.runs.writers import write_embeddings, write_metrics, write_predictions
from urbankit.utils.files import write_json, write_text

FRAMES = """new Promise((done) => {
  const {map} = page, times = [], begun = [];
  let last = performance.now(), k = 0;
  const step = (now) => {
    times.push(performance.now() - last); last = performance.now();
    if (++k > 60) return done(times.slice(1));
    MOVE
    requestAnimationFrame(step);
  };
  requestAnimationFrame(step);
})"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--regions", type=int, default=10_000)
    parser.add_argument("--keep", type=Path, help="where the run is written; default a folder that is deleted")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        context = fabricate(options.keep or Path(temporary), round(options.regions**0.5))
        begun = perf_counter()
        page = write_report(context)
        print(f"{context.city.n_regions:,} regions: built in {perf_counter() - begun:.1f} s")
        print(f"page {page.path.stat().st_size / 1e6:.2f} MB; " + " ".join(page.missing))
        if chromium() is None:
            print("no Chromium here: the page was not opened")
            return
        with Browser() as browser:
            measure(browser, page.path)


def measure(browser: Browser, path: Path) -> None:
    for _ in range(3):
        loaded = browser.open(path)
        drawn = browser.run("performance.getEntriesByName('map-drawn')[0].startTime")
        print(f"map drawn after {drawn / 1000:.2f} s, page loaded after {loaded:.2f} s")
    moves = {
        "pan": "map.pan(k % 40 < 20 ? 12 : -12, 5 * Math.sin(k));",
        "zoom": "map.zoom(k < 30 ? 1.06 : 1 / 1.06);",
        "pan, close": "if (k === 1) map.nearer(8); map.pan(k % 40 < 20 ? 30 : -30, 0);",
        "hover": "const i = (k * 131) % map.shapes.n; page.hover(i, 300 + k, 200);",
    }
    for name, move in moves.items():
        browser.run("page.map.fit(), page.map.refresh(), page.map.draw(), 1")
        times = np.array(browser.run(FRAMES.replace("MOVE", move)))
        spread = f"95 % within {np.percentile(times, 95):.1f}, most {times.max():.1f}"
        print(f"{name}: {np.median(times):.1f} ms a frame, {spread}")
    drawing = browser.run(
        "(() => {const {map} = page, [side] = map.sides, t = performance.now(); map.fit(); side.paths = null;"
        " map.refresh(); map.draw();"
        " side.buffer.getContext('2d').getImageData(0, 0, 1, 1); return performance.now() - t})()"
    )
    print(f"the whole map drawn anew: {drawing:.0f} ms")
    choosing = browser.run("(() => {const t = performance.now(); page.choose(17); return performance.now() - t})()")
    print(f"the first region chosen: {choosing:.0f} ms (reads all images)")


def fabricate(folder: Path, side: int) -> RunContext:
    """A run that was written by the run folder's own writers, and its city in memory."""
    rng = np.random.default_rng(0)
    n = side * side
    regions = winding_lattice(side, rng)
    centre = regions.centroid
    city = SimpleNamespace(
        name="ten thousand", has_geometry=True, crs="EPSG:32618", n_regions=n, regions=regions,
        region_ids=regions["region_id"].tolist(),
        area_km2=regions.area.to_numpy() / 1e6, report=PrepareReport("ten thousand", n),
        image_sources=["rsi", "svi"], caption_sources=[], poi_counts=lambda: None, flows=lambda: None,
        base_map=lambda: None, tables=[],
    )  # fmt: skip
    sources = {"rsi": images("rsi", np.arange(n)), "svi": images("svi", np.sort(rng.integers(n, size=5 * n // 2)))}
    city.images = sources.__getitem__
    xy = np.column_stack([centre.x, centre.y])
    surface = [np.sin(xy @ rng.normal(size=2) / 9000) + 0.2 * rng.normal(size=n) for _ in range(4)]
    tasks = [
        TaskData(f"target {i}", "regression", y, rng.random(n) > 0.05, unit="µg/m³") for i, y in enumerate(surface)
    ]
    records, tables = [], []
    for task in tasks:
        for protocol in ("random", "spatial"):
            for seed in range(5):
                test = make_split(protocol, xy, seed).of(task.labelled).test
                guess = task.y[test] + 0.3 * rng.normal(size=len(test))
                records += task.records("urbanmmcl", protocol, seed, test, guess)
                tables.append(task.predictions("urbanmmcl", protocol, seed, {"test": test}, guess))
    write_text(folder / "recipe.yaml", "name: ten-thousand\ndescription: a fabricated run\n")
    write_json(folder / "manifest.json", {"status": "done", "city": city.name, "regions": n})
    write_embeddings(folder, city, np.column_stack(surface * 16) + rng.normal(size=(n, 64)))
    write_metrics(folder, records)
    write_predictions(folder, city, pd.concat(tables, ignore_index=True))
    return RunContext(Run.open(folder), city, regions, tasks, [])


def winding_lattice(side: int, rng: np.random.Generator) -> gpd.GeoDataFrame:
    """side² regions of about a square kilometre; neighbours share their borders, each of 7 points."""
    along = np.linspace(0, 1, 8)[:, None]
    nodes = np.stack(np.meshgrid(np.arange(side + 1.0), np.arange(side + 1.0), indexing="ij"), -1)
    nodes = nodes + rng.uniform(-0.25, 0.25, nodes.shape)

    def borders(begin: np.ndarray, end: np.ndarray) -> np.ndarray:
        straight = begin[..., None, :] * (1 - along) + end[..., None, :] * along
        straight[..., 1:-1, :] += rng.uniform(-0.04, 0.04, straight[..., 1:-1, :].shape)
        return straight

    across, up = borders(nodes[:-1], nodes[1:]), borders(nodes[:, :-1], nodes[:, 1:])
    rings = np.concatenate(
        [across[:, :-1], up[1:, :, 1:], across[:, 1:, -2::-1], up[:-1, :, -2::-1]], axis=2
    )  # fmt: skip
    shapes = shapely.polygons(1000 * rings.reshape(side * side, -1, 2))
    return gpd.GeoDataFrame({"region_id": [f"r{i:05d}" for i in range(side * side)]}, geometry=shapes, crs="EPSG:32618")


def images(name: str, region: np.ndarray) -> SimpleNamespace:
    """Noise on a gradient, 64 pixels wide, of which no two are the same."""

    def read(rows: np.ndarray) -> np.ndarray:
        slope = np.add.outer(np.arange(64), np.arange(64)) + 31 * rows[:, None, None, None] % 128
        noise = np.random.default_rng(int(rows[0])).integers(0, 24, (len(rows), 3, 64, 64))
        return (slope + noise).clip(0, 255).astype(np.uint8)

    class Source(SimpleNamespace):
        def __len__(self) -> int:
            return len(self.region)

    return Source(name=name, region=region, read=read, bands=3, dtype="uint8", band_names=["red", "green", "blue"])


if __name__ == "__main__":
    main()
