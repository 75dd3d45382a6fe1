"""A small city whose target is a distribution: age groups that follow the columns of a table."""

from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import yaml
from helpers.short_run import SMALL
from shapely import box

from urbankit import City

N, COLUMNS = 60, ["under 18", "18_to_64", "over/64"]
IDS = [f"r{i:02d}" for i in range(N)]
FACTS: dict[str, Any] = {
    "table": "age.csv", "region": "id", "kind": "distribution", "columns": COLUMNS, "title": "Age groups",
    "classes": {"under 18": {"title": "Children", "description": "People below 18."}},
}  # fmt: skip
UNLABELLED = [3, 5, 7]
"""Regions with only zeros, a negative value and a missing one."""


def counts(seed: int = 0) -> np.ndarray:
    """Counts of people by age group, [N, 3], of which some are zero."""
    rng = np.random.default_rng(seed)
    signal = census(seed)
    logits = np.column_stack([signal[:, 0], 0.5 + 0 * signal[:, 0], signal[:, 1] - 1]) + rng.normal(0, 0.1, (N, 3))
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    result = np.round(shares * rng.integers(50, 5000, N)[:, None])
    result[10:14, 2] = 0
    return result


def census(seed: int = 0) -> np.ndarray:
    """Numbers that the counts depend on, [N, 3]."""
    return np.random.default_rng(100 + seed).normal(size=(N, 3))


def write_sources(folder: Path, order: Any = None, name: str = "shares", east: float = 500_000, **target: Any) -> Path:
    """Write the sources and the city file, with the regions in `order`; `target` replaces keys of the target."""
    folder.mkdir(parents=True, exist_ok=True)
    order = np.arange(N) if order is None else order
    column, row = np.arange(N) % 10, np.arange(N) // 10
    squares = box(east + 500 * column, 4.5e6 + 500 * row, east + 500 * (column + 1), 4.5e6 + 500 * (row + 1))
    regions = gpd.GeoDataFrame({"id": IDS}, geometry=squares, crs="EPSG:32618")
    regions.iloc[order].to_file(folder / "regions.gpkg")
    ages = pd.DataFrame(counts(), columns=COLUMNS).astype(object)
    for row, column, value in zip(UNLABELLED, COLUMNS, [0, -1, None], strict=True):
        ages.loc[row, column if value else COLUMNS] = value
    ages.loc[UNLABELLED[2], COLUMNS[0]] = None
    ages.insert(0, "id", IDS)
    ages.assign(name="a name").to_csv(folder / "age.csv", index=False)
    table = pd.DataFrame(census().round(6), columns=["income", "rooms", "cars"])
    table = table.assign(id=IDS, income_class=np.where(table["income"] > 0, "rich", "poor"))
    table.to_csv(folder / "census.csv", index=False)
    spec = {
        "name": name,
        "regions": {"file": "regions.gpkg", "id": "id"},
        "tables": {"census": {"file": "census.csv", "region": "id", "columns": ["income", "rooms", "cars"]}},
        "targets": {
            "age": {key: value for key, value in (FACTS | target).items() if value is not None},
            "wealth": {"table": "census.csv", "region": "id", "column": "income_class", "kind": "classification"},
        },
    }
    (folder / "city.yaml").write_text(yaml.safe_dump(spec, sort_keys=False))
    return folder / "city.yaml"


def prepare(folder: Path, order: Any = None, **options: Any) -> City:
    return City.prepare(write_sources(folder / "sources", order, **options), out=folder / "prepared")


def recipe(city: City, head: str = "ridge", **keys: Any) -> dict[str, Any]:
    """A recipe of seconds on the city."""
    return {
        "name": "shares",
        "city": {"prepared": str(city.path)},
        **SMALL,
        "modalities": {"census": {"name": "table"}},
        "tasks": {"age": {"head": {"name": head}}},
        "pretrain": {"epochs": 1},
        "finetune": {"epochs": 30, "update": []},
        "evaluation": {"splits": ["random"], "seeds": [0], "floors": ["mean"], "controls": []},
        "predict": {"folds": 3},
        "report": {"figures": False},
    } | keys
