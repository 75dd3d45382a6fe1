"""Mutated recipes, city files, tables, vector files, rasters, pictures and checkpoints are read or refused.

Only a `UserError` may refuse them, never another error.
The long form: `URBANKIT_CAMPAIGN=10000 URBANKIT_CAMPAIGN_SEED=1 pytest -n 0 tests/campaigns/test_mutated_input.py`.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import geopandas as gpd
import numpy as np
import polars as pl
import pytest
import torch
from helpers.rasters import write_raster
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st
from PIL import Image
from shapely import box

from urbankit.city.io.columns import data_columns, numbers, texts
from urbankit.city.io.pictures import decode_picture
from urbankit.city.io.raster import zonal
from urbankit.city.io.tables import read
from urbankit.city.io.vectors import read_vector
from urbankit.city.spec import load_city_spec
from urbankit.recipe.recipe import Recipe
from urbankit.training import checkpoint
from urbankit.utils.errors import UserError

COUNT, SEED = int(os.environ.get("URBANKIT_CAMPAIGN", "25")), int(os.environ.get("URBANKIT_CAMPAIGN_SEED", "0"))
CAMPAIGN = settings(max_examples=COUNT, deadline=10_000, suppress_health_check=list(HealthCheck), database=None)
FRAME = pl.DataFrame(
    {"id": [f"r{i}" for i in range(200)], "v": [i / 7 for i in range(200)], "c": ["park", "shop"] * 100}
)
RECIPE = b"city: {demo: {regions: 50}}\nmodalities: {c: {name: coordinates}}\nmethod: {name: urbanmmcl}\nseed: 1\n"
CITY = b"name: c\nregions: {file: r.gpkg, id: id}\ntables: {t: {file: t.csv, region: id}}\ntargets: {t: {table: t.csv, "
CITY += b"region: id, column: v}}\n"
PIECES = [
    b"",
    b"\0",
    b"\xff",
    b"\x1b[2J",
    b'"',
    b"[" * 200,
    b"{",
    b": ",
    b"&a *a",
    b"!!int x",
    b".inf",
    b"-1",
    b"9" * 99,
]
EDIT = st.tuples(st.floats(0, 1), st.integers(0, 40), st.sampled_from(PIECES) | st.binary(max_size=20))


def mutated(content: bytes, edits: list[tuple[float, int, bytes]]) -> bytes:
    for position, length, piece in edits:
        start = int(position * len(content))
        content = content[:start] + piece + content[start + length :]
    return content


def check_mutated(path: Path, content: bytes, load: Callable[[Path], object]) -> None:
    """Load many mutations of a file. Only `UserError` may be raised."""

    @seed(SEED)
    @CAMPAIGN
    @given(st.lists(EDIT, min_size=1, max_size=4))
    def check(edits: list[tuple[float, int, bytes]]) -> None:
        path.write_bytes(mutated(content, edits))
        with suppress(UserError):
            load(path)

    check()


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_a_mutated_table_is_read_or_refused(suffix: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"t{suffix}"
        {".csv": FRAME.write_csv, ".jsonl": FRAME.write_ndjson, ".parquet": FRAME.write_parquet}[suffix](path)

        def load(path: Path) -> None:
            frame = read(path, {"region": "id"}, "t")
            texts(frame, "id", path, "t")
            for name in data_columns(frame, {"id"}, path, "t").names:
                with suppress(UserError):
                    numbers(frame, name, path, "t")

        check_mutated(path, path.read_bytes(), load)


@pytest.mark.parametrize(("content", "load"), [(RECIPE, Recipe.load), (CITY, load_city_spec)])
def test_a_mutated_recipe_or_city_file_is_read_or_refused(content: bytes, load: Callable[[Path], object]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        check_mutated(Path(folder) / "x.yaml", content, load)


SQUARES = gpd.GeoDataFrame({"id": ["a", "b"]}, geometry=[box(0, 0, 1, 1), box(1, 0, 2, 1)], crs="EPSG:4326")


@pytest.mark.parametrize("suffix", [".gpkg", ".geojson", ".parquet"])
def test_a_mutated_vector_file_is_read_or_refused(suffix: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"r{suffix}"
        SQUARES.to_parquet(path) if suffix == ".parquet" else SQUARES.to_file(path)
        check_mutated(path, path.read_bytes(), lambda path: read_vector(path, "regions"))


def test_a_mutated_raster_is_read_or_refused() -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.tif"
        write_raster(path, np.ones((30, 30), np.float32))
        check_mutated(path, path.read_bytes(), lambda path: zonal(path, SQUARES, "mean"))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tif", ".gif", ".bmp"])
def test_a_mutated_picture_is_decoded_or_refused(suffix: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"p{suffix}"
        Image.effect_noise((24, 24), 60).convert("RGB").save(path)
        check_mutated(path, path.read_bytes(), lambda path: decode_picture(path, (8, 8)))


@pytest.mark.filterwarnings("ignore")
def test_a_mutated_checkpoint_is_read_or_refused() -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "c.safetensors"
        checkpoint.save(path, {"a": torch.ones(3, 4), "b": torch.zeros(2)}, {"stage": "pretrain"})
        check_mutated(path, path.read_bytes(), checkpoint.load)
