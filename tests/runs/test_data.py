"""Files that components read beside the city: a run records their content, and a bench knows its runs by it."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from urbankit import testing
from urbankit.bench import store as store_module
from urbankit.bench.store import Store
from urbankit.bench.suite import load_plan
from urbankit.pipeline.resume import changed_files
from urbankit.pipeline.run import run
from urbankit.recipe.recipe import Recipe
from urbankit.runs.files_read import files_read
from urbankit.utils.errors import UserError
from urbankit.utils.progress import Progress


def write_table(path: Path, first: float = 0.0) -> Path:
    values = np.random.default_rng(0).normal(size=(20, 2))
    values[0] = first
    pd.DataFrame(values, columns=["a", "b"]).assign(region_id=testing.tiny_city().region_ids).to_csv(path, index=False)
    return path


@pytest.fixture
def small(tiny_recipe: dict[str, Any], tmp_path: Path) -> dict[str, Any]:
    """A recipe whose one modality is a table beside the city, `table.csv`."""
    write_table(tmp_path / "table.csv")
    changes = {
        "city": {"prepared": str(testing.tiny_city().path)},
        "modalities": {"alpha": {"name": "precomputed", "file": str(tmp_path / "table.csv")}},
        "views": {"distance": {"name": "distance"}},
        "tasks": {"density": {}},
        "pretrain": {"epochs": 1},
        "finetune": {"epochs": 1, "update": []},
        "evaluation": {"seeds": [0], "splits": ["random"], "floors": ["mean"]},
    }
    recipe = tiny_recipe | changes
    recipe["method"]["alignments"] = []
    return recipe


def keys(recipe: dict[str, Any], folder: Path) -> tuple[str, str]:
    """Those of the run and of the floors in a bench."""
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    (cell,) = load_plan({"seeds": [0], "runs": {"it": str(folder / "recipe.yaml")}}).runs
    store, city = Store(folder / "bench"), testing.tiny_city()
    return store.run(cell, "tiny", city).key, store.floors(cell.recipe, "it", "tiny", city).key


def test_resume_requires_the_files_of_the_start(small, tmp_path):
    def again(**options: Any) -> None:
        run(Recipe.load(small), tmp_path / "run", progress=Progress(quiet=True), **options)

    again()
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())
    ((path, digest),) = manifest["files"]["modalities.alpha"].items()
    assert path == str(tmp_path / "table.csv") and len(digest) == 64
    write_table(tmp_path / "table.csv", first=1)
    with pytest.raises(
        UserError, match=r"changed since this run started: modalities\.alpha reads .*table\.csv\. Restore"
    ):
        again(resume=True)
    assert json.loads((tmp_path / "run" / "manifest.json").read_text()) == manifest, "what is done stays so"
    write_table(tmp_path / "table.csv")
    again(resume=True)


def test_changed_files_lists_every_difference():
    before = {"modalities.a": {"x": "1", "y": "2"}, "modalities.b": {"z": "3"}}
    assert changed_files(before, before) == []
    assert changed_files(before, {"modalities.a": {"moved": "1", "y": "2"}, "modalities.b": {"z": "3"}}) == []
    now = {"modalities.a": {"x": "1", "y": "9"}, "modalities.c": {"w": "4"}}
    assert changed_files(before, now) == [
        "modalities.a reads y",
        "modalities.b no longer reads z",
        "modalities.c reads w",
    ]
    swapped = {"modalities.a": {"y": "2", "x": "1"}, "modalities.b": {"z": "3"}}
    assert changed_files(before, swapped) == ["modalities.a reads the same files in another order"]


def test_bench_identifies_runs_and_floors_by_file_content(small, tmp_path):
    before = keys(small, tmp_path)
    assert keys(small, tmp_path) == before
    write_table(tmp_path / "table.csv", first=1)
    changed = keys(small, tmp_path)
    assert not set(before) & set(changed)
    (tmp_path / "table.csv").unlink()  # that the run will tell of
    assert not set(keys(small, tmp_path)) & {*before, *changed}
    write_table(tmp_path / "table.csv")
    assert keys(small, tmp_path) == before


def test_a_bench_hashes_a_file_once(small, tmp_path, monkeypatch):
    read: list[Path] = []
    plain = store_module.cached_hash
    monkeypatch.setattr(store_module, "cached_hash", lambda path: read.append(path) or plain(path))
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(small))
    plan = load_plan({"seeds": [0, 1, 2], "runs": {"it": str(tmp_path / "recipe.yaml")}})
    store = Store(tmp_path / "bench")
    assert len({store.run(cell, "tiny", testing.tiny_city()).key for cell in plan.runs}) == 3
    assert read == [tmp_path / "table.csv"]


def test_local_weights_are_among_the_files_read(small, tmp_path):
    """Without reading them as weights: a folder that is none is known by its files too."""
    (tmp_path / "clip").mkdir()
    weights = tmp_path / "clip" / "model.safetensors"
    weights.write_bytes(b"weights")
    small["modalities"] = {"rsi": {"name": "vit", "pretrained": str(tmp_path / "clip")}}
    recipe = Recipe.load(small)
    before = files_read(recipe, testing.tiny_city())
    assert list(before) == ["modalities.rsi"] and list(before["modalities.rsi"]) == [str(weights)]
    weights.write_bytes(b"others")
    assert files_read(recipe, testing.tiny_city()) != before


def test_recipe_without_other_files_has_no_files_read(tiny_recipe):
    assert files_read(Recipe.load(tiny_recipe), testing.tiny_city()) == {}
