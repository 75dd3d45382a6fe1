"""Every stage of a run as the city grows: `python benchmarks/bench_scale.py [--regions 1000 5000 20000] [--epochs 0]`

Writes a city without images, squares of a grid with points of interest, flows and a numeric target, and runs each stage
on it: three views, UrbanMMCL, the head `gp`, one seed and one split. Prints for each stage the seconds of processor
time and the peak memory, and the exponent with which its time grows between the smallest and the largest city.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely
from pyproj import Transformer

from urbankit import registry
from urbankit.city.city import City
from urbankit.evaluation.raw_features import build_raw_features
from urbankit.export import export
from urbankit.pipeline import stages
from urbankit.recipe.recipe import Recipe
from urbankit.report import draw_all
from urbankit.runs.context import RunContext
from urbankit.runs.data import run_floors
from urbankit.runs.folder import Run
from urbankit.utils.progress import Progress
from urbankit.views.base import build_view

CRS = "EPSG:32618"
WEST, SOUTH, SIDE = 500_000.0, 4_300_000.0, 500.0
CATEGORIES = 12
DESTINATIONS = 12

CITY = """\
name: grid-{regions}
crs: {crs}
regions: {{file: regions.gpkg, id: region}}
poi: {{points: pois.parquet, category: category, lon: lon, lat: lat}}
flows: {{file: trips.parquet, origin: origin, destination: destination, weight: trips}}
targets:
  density: {{table: targets.csv, region: region, column: density}}
"""


Stage = Callable[[str], AbstractContextManager[None]]


class Measured(NamedTuple):
    """Seconds of processor time, and peak memory in GB, of a stage."""

    seconds: float
    memory: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--regions", type=int, nargs="+", default=[1000, 5000, 20_000], help="sizes of the city")
    parser.add_argument("--epochs", type=int, default=0, help="epochs of pre-training; 0 leaves it out")
    parser.add_argument("--head", default="gp", help="the head of the task")
    parser.add_argument("--without-figures", action="store_true", help="draw no figures")
    parser.add_argument("--keep", type=Path, help="where cities and runs are written; default a folder that is deleted")
    options = parser.parse_args()
    if min(options.regions) < 100:
        parser.error(f"--regions {min(options.regions)} is too few; give 100 or more")
    measured = {}
    with tempfile.TemporaryDirectory() as temporary:
        for regions in sorted(set(options.regions)):
            folder = (options.keep or Path(temporary)) / str(regions)
            # A process for each size: the memory of one size is not that of the next.
            with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
                measured[regions] = pool.submit(
                    measure, folder, regions, options.epochs, options.head, not options.without_figures
                ).result()
    print(table(measured))


def measure(folder: Path, regions: int, epochs: int, head: str, figures: bool) -> dict[str, Measured]:
    """Run every stage on a city of about `regions` regions, and return what each took."""
    folder.mkdir(parents=True)
    os.environ["URBANKIT_CACHE"] = str(folder / "cache")
    measured: dict[str, Measured] = {}

    @contextmanager
    def stage(name: str) -> Iterator[None]:
        Path("/proc/self/clear_refs").write_text("5")  # the peak starts again
        started = time.process_time()
        yield
        measured[name] = Measured(time.process_time() - started, peak_memory())
        print(
            f"{regions:,} regions, {name}: {measured[name].seconds:.1f} s, {measured[name].memory:.2f} GB", flush=True
        )

    recipe = stages.load_recipe(recipe_of(write_city(folder / "sources", regions), epochs, head))
    quiet = Progress(quiet=True)
    with stage("prepare"):
        city = stages.prepare_city(recipe, quiet)
    views = measure_views(recipe, city, stage)
    with stage("features"):
        build_raw_features(city, recipe)
    with stage("inputs, views included"):
        state = stages.build_inputs(recipe, city, folder / "run")
    assert list(state.inputs.views) == views
    with stage("pre-training"):
        stages.pretrain(state)
    with stage("embed"):
        embeddings = stages.embed(state)
    with stage("head"):
        predictions = stages.finetune(state, embeddings)
    with stage("cross-fitting"):
        stages.predict(state, embeddings)
    for floor in recipe.evaluation.floors:
        evaluation = recipe.evaluation.model_copy(update={"floors": [floor]})
        with stage(f"floor {floor}"):
            run_floors(recipe.model_copy(update={"evaluation": evaluation}), city, state.tasks, state.splits, quiet)
    with stage("scores"):
        stages.score(state, embeddings, predictions)  # reads the floors from the cache
    if figures:
        with stage("figures"):
            draw_all(RunContext.of(Run.open(folder / "run"), city))
    with stage("page and card"):
        stages.report(state)
    with stage("export"):
        export(Run.open(folder / "run"), "geoparquet")
    page = (folder / "run" / "report.html").stat().st_size / 1e6
    print(f"{regions:,} regions: page of {page:.1f} MB; {scores(folder / 'run')}", flush=True)
    return measured


def measure_views(recipe: Recipe, city: City, stage: Stage) -> list[str]:
    """Build each view by itself, and return their names."""
    for name, use in recipe.views.items():
        with stage(f"view {name}"):
            build_view(registry.create("view", use), city)
    return list(recipe.views)


def scores(folder: Path) -> str:
    metrics = Run.open(folder).metrics
    rows = metrics[metrics["metric"] == "r2"]
    return "R² " + ", ".join(f"{row.model} {row.value:.3f}" for row in rows.itertuples())


def peak_memory() -> float:
    [line] = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) / 1e6


def recipe_of(city: Path, epochs: int, head: str) -> dict[str, object]:
    return {
        "name": "scale",
        "engine": "torch",
        "city": {"spec": str(city)},
        "modalities": {name: {"name": name} for name in ("poi_counts", "flow_profile", "coordinates")},
        "views": {name: {"name": name} for name in ("poi", "mobility", "distance")},
        "method": {
            "name": "urbanmmcl", "dim": 32, "fusion": {"name": "concat"}, "readout": "mean+root",
            "alignments": [["poi_counts", "flow_profile"]],
            "features": ["poi_counts", "flow_profile", "coordinates"],
        },
        "tasks": {"density": {"head": {"name": head}}},
        "pretrain": {"epochs": epochs},
        "finetune": {"update": []},
        "evaluation": {"seeds": [0], "splits": ["spatial"]},
        "report": {"figures": False},
    }  # fmt: skip


def write_city(folder: Path, regions: int) -> Path:
    """Write the sources of a city of about `regions` squares of a grid, and return its city file."""
    folder.mkdir()
    draw, side = np.random.default_rng(0), round(regions**0.5)
    n = side * side
    x, y = (axis.ravel().astype(np.float64) for axis in np.meshgrid(np.arange(side), np.arange(side)))
    ids = np.char.add("r", np.arange(n).astype(str))
    squares = shapely.box(WEST + SIDE * x, SOUTH + SIDE * y, WEST + SIDE * (x + 1), SOUTH + SIDE * (y + 1))
    gpd.GeoDataFrame({"region": ids}, geometry=squares, crs=CRS).to_file(folder / "regions.gpkg", driver="GPKG")
    # Smooth surfaces that a hundred regions, not the city, are wide.
    waves = draw.normal(size=(6, 2)) / 8
    surfaces = np.sin(waves @ np.stack([x, y]) + draw.uniform(0, 6, (6, 1)))
    rates = np.exp(0.7 * draw.normal(size=(CATEGORIES, 6)) @ surfaces)
    counts = draw.poisson(rates)
    category, owner = (np.repeat(index.ravel(), counts.ravel()) for index in np.indices(counts.shape))
    inside = draw.uniform(0.1, 0.9, (2, len(owner)))
    lon, lat = Transformer.from_crs(CRS, "EPSG:4326", always_xy=True).transform(
        WEST + SIDE * (x[owner] + inside[0]), SOUTH + SIDE * (y[owner] + inside[1])
    )
    names = np.char.add("category ", category.astype(str))
    pd.DataFrame({"lon": lon, "lat": lat, "category": names}).to_parquet(folder / "pois.parquet", index=False)
    origin = np.repeat(np.arange(n), DESTINATIONS)
    away = np.rint(draw.normal(scale=6, size=(2, len(origin)))).astype(np.int64)
    column, row = (
        np.clip(axis[origin].astype(np.int64) + step, 0, side - 1) for axis, step in zip((x, y), away, strict=True)
    )
    trips = 1 + draw.poisson(5 * np.exp(surfaces[0])[row * side + column])
    table = pd.DataFrame({"origin": ids[origin], "destination": ids[row * side + column], "trips": trips})
    table.to_parquet(folder / "trips.parquet", index=False)
    density = 3 * surfaces[0] * surfaces[1] + 2 * surfaces[2] + 0.5 * draw.normal(size=n)
    pd.DataFrame({"region": ids, "density": density}).to_csv(folder / "targets.csv", index=False)
    (folder / "city.yaml").write_text(CITY.format(regions=n, crs=CRS), encoding="utf-8")
    return folder / "city.yaml"


def table(measured: dict[int, dict[str, Measured]]) -> str:
    """Return a Markdown table of the stages, with the exponent between the smallest and the largest city."""
    sizes = list(measured)
    heads = [f"{size:,}" for size in sizes]
    lines = [f"| stage | {' | '.join(heads)} | exponent |", f"|---|{'---:|' * (len(sizes) + 1)}"]
    for name in measured[sizes[0]]:
        of_stage = [measured[size][name] for size in sizes]
        cells = [f"{one.seconds:.1f} s, {one.memory:.1f} GB" for one in of_stage]
        first, last = (max(one.seconds, 0.01) for one in (of_stage[0], of_stage[-1]))
        exponent = f"{np.log(last / first) / np.log(sizes[-1] / sizes[0]):.2f}" if len(sizes) > 1 else "–"
        lines.append(f"| {name} | {' | '.join(cells)} | {exponent} |")
    totals = [
        sum(one.seconds for name, one in measured[size].items() if not name.startswith("view ")) for size in sizes
    ]
    growth = f"{np.log(totals[-1] / totals[0]) / np.log(sizes[-1] / sizes[0]):.2f}" if len(sizes) > 1 else "–"
    return "\n".join([*lines, f"| all | {' | '.join(f'{total:.0f} s' for total in totals)} | {growth} |"])


if __name__ == "__main__":
    main()
