"""Folders of small cities with the same files, in different parts of the world."""

from __future__ import annotations

from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely

SPEC = """
name: one
regions: {file: regions.gpkg, id: region}
poi: {counts: poi.csv, region: region}
flows: {file: flows.csv, origin: origin, destination: destination, weight: trips}
targets:
  density: {table: targets.csv, region: region, column: density, unit: people/km²}
  use: {table: targets.csv, region: region, column: use, kind: classification}
"""

PLACES = {"first": (-73.9, 40.7), "second": (103.8, 1.3), "third": (18.4, -33.9), "fourth": (151.2, -33.8)}


def write_cities(folder: Path, names: tuple[str, ...] = ("first", "second", "third"), side: int = 5) -> Path:
    """Write `city.yaml` and one folder for each name; return the folder of the cities.

    The density is a function of the counts, times a level and scale of the city.
    """
    cities = folder / "cities"
    (folder / "spec").mkdir(parents=True)
    (folder / "spec" / "one.yaml").write_text(SPEC, encoding="utf-8")
    for index, name in enumerate(names):
        _write(cities / name, *PLACES[name], side, index)
    return cities


def _write(folder: Path, lon: float, lat: float, side: int, index: int) -> None:
    folder.mkdir(parents=True)
    rng, n = np.random.default_rng(index), side * side
    row, column = np.divmod(np.arange(n), side)
    ids = [f"r{i:02d}" for i in range(n)]
    boxes = shapely.box(lon + column * 0.01, lat + row * 0.01, lon + (column + 1) * 0.01, lat + (row + 1) * 0.01)
    gpd.GeoDataFrame({"region": ids}, geometry=boxes, crs="EPSG:4326").to_file(folder / "regions.gpkg")
    counts = rng.poisson(np.linspace(1, 9, n)[rng.permutation(n)][:, None], (n, 3))
    spelled = ["cafe", "fast_food", "park"] if index % 2 == 0 else ["park", "Fast food", "cafe"]
    order = [0, 1, 2] if index % 2 == 0 else [2, 1, 0]
    pd.DataFrame(counts[:, order], columns=spelled).assign(region=ids).to_csv(folder / "poi.csv", index=False)
    origin, destination = rng.integers(0, n, (2, 6 * n))
    flows = pd.DataFrame({"origin": np.take(ids, origin), "destination": np.take(ids, destination)})
    flows.assign(trips=rng.integers(1, 20, 6 * n)).to_csv(folder / "flows.csv", index=False)
    signal = np.log1p(counts[:, 0]) - 0.5 * np.log1p(counts[:, 2])
    density = 100.0 * (index + 1) + 10.0 * (index + 1) * signal
    use = np.where(counts[:, 1] > np.median(counts[:, 1]), "busy", "calm")
    pd.DataFrame({"region": ids, "density": density, "use": use}).to_csv(folder / "targets.csv", index=False)


def keys(folder: Path, **more) -> dict:
    """A recipe on the cities in a folder."""
    return {
        "name": "many",
        "cities": {"folder": str(folder), "spec": str(folder.parent / "spec" / "one.yaml")},
        "modalities": {"poi_counts": {"name": "poi_counts"}, "flow_totals": {"name": "flow_profile", "components": 0}},
        "views": {"poi": {"name": "poi"}, "mobility": {"name": "mobility"}, "distance": {"name": "distance"}},
        "method": {
            "name": "urbanmmcl", "dim": 8, "alignments": [["poi_counts", "flow_totals"]], "relation": 1.0,
            "graph_encoder": {"name": "vgae", "latent": 8, "decoder": "affine"}, "walks": 1,
        },
        "tasks": {"density": {"head": {"name": "gp", "steps": 3}}, "use": {"head": {"name": "forest", "trees": 5}}},
        "pretrain": {"epochs": 3, "batch_size": 32, "patience": 0},
        "finetune": {"update": []},
        "predict": {"folds": 0},
        "evaluation": {"splits": ["random"], "seeds": [0], "floors": ["mean"], "controls": [], "min_class_size": 2},
        "report": {"figures": False},
    } | more  # fmt: skip
