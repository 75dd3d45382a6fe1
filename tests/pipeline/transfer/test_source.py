"""A run that takes weights over: what it leaves, how it goes on, and what its recipe may have wrong."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.quick import QUICK
from helpers.transfer_runs import completed

from urbankit.city.city import City
from urbankit.pipeline.run import run
from urbankit.recipe.recipe import Recipe
from urbankit.registry.recipes import shipped
from urbankit.runs.folder import Run
from urbankit.training import checkpoint
from urbankit.utils.errors import UserError
from urbankit.utils.files import write_json
from urbankit.utils.progress import Progress


def test_the_manifest_says_where_the_weights_come_from(new, source, tiny_city, tmp_path):
    manifest = completed(new | {"tasks": {}}, tmp_path / "run").manifest
    source_manifest = Run.open(source).manifest
    assert manifest["transfer"]["recipe_hash"] == source_manifest["recipe_hash"]
    assert manifest["transfer"]["city_hash"] == tiny_city.content_hash
    assert len(manifest["transfer"]["checkpoint"]) == 64 and "transfer" in manifest["seconds"]


@pytest.mark.parametrize("graph", ["new", "keep"])
def test_a_transfer_run_resumes_to_the_same_bits(graph, new, tmp_path):
    new["transfer"]["graph"] = graph
    completed(new, tmp_path / "whole")
    cut = Path(shutil.copytree(tmp_path / "whole", tmp_path / "cut"))
    for name in ("embeddings.parquet", "predictions.parquet", "metrics.parquet", "report.html"):
        (cut / name).unlink()
    (cut / "checkpoints/finetune/spatial-0.safetensors").unlink()
    completed(new, cut, resume=True)
    for name in ("embeddings.parquet", "predictions.parquet", "metrics.parquet"):
        assert (cut / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name


def test_resume_refuses_a_changed_source_run(new, copied, tmp_path):
    new["transfer"]["from"], new["tasks"] = str(copied), {}
    completed(new, tmp_path / "run")
    best = copied / "checkpoints/best.safetensors"
    tensors, facts = checkpoint.load(best)
    checkpoint.save(best, {name: value.clone().zero_() for name, value in tensors.items()}, facts)
    with pytest.raises(UserError, match="has changed since this run started"):
        completed(new, tmp_path / "run", resume=True)


def test_shipped_transfer_recipe_names_the_missing_values(cli):
    result = cli("validate", "transfer/singapore-zero-shot", status=2)
    assert "transfer.from: is missing" in result.stderr and "--set transfer.from=runs/NAME" in result.stderr


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"transfer": {"from": "nowhere"}}, r"transfer\.from: there is no run in '.*nowhere'"),
        ({"transfer": {"graph": "keep", "modalities": ["rsi"]}}, "loads all modalities"),
        ({"transfer": {"modalities": ["rsy"]}}, r"transfer\.modalities: .* no modality 'rsy'.*'rsi'"),
        ({"transfer": {"graph": "keep"}, "finetune": {"update": ["all"]}}, r"finetune\.update: .*`update: \[\]`"),
        (
            {"transfer": {"graph": "keep"}, "evaluation": {"splits": ["folds"]}},
            r"evaluation\.splits: `folds` fits models",
        ),
        ({"transfer": {"graph": "keep"}, "finetune": {"paradigm": "end_to_end"}}, r"finetune\.paradigm: .*no weight"),
    ],
)
def test_wrong_transfer_sections_are_refused(change, message, new):
    for section, keys in change.items():
        new[section] |= keys
    with pytest.raises(UserError, match=message):
        Recipe.load(new)


def manifest_says(key: str, value: Any):
    def spoil(folder: Path) -> None:
        manifest = json.loads((folder / "manifest.json").read_text())
        write_json(folder / "manifest.json", manifest | {key: value})

    return spoil


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (
            manifest_says("status", "running"),
            r"transfer\.from: the run is not finished \(its status: running\).*--resume",
        ),
        (lambda f: (f / "checkpoints/best.safetensors").unlink(), r"transfer\.from: .*it has no pre-trained weights"),
        (lambda f: (f / "checkpoints/best.safetensors").write_bytes(b"x" * 99), r"transfer\.from: .*cannot be read"),
        (manifest_says("city_hash", "0"), r"transfer\.from: its city, .*, has changed since"),
        (lambda f: (f / "embeddings.parquet").write_bytes(b"x" * 99), "embeddings.parquet: is damaged"),
    ],
)
def test_unusable_source_runs_are_refused(spoil, message, keep, copied, tmp_path):
    spoil(copied)
    keep["transfer"]["from"] = str(copied)
    with pytest.raises(UserError, match=message):
        completed(keep, tmp_path / "run")


SHIPPED = [name for name in shipped() if name.startswith("transfer/")]


def test_shipped_recipes_are_valid(source):
    for name in SHIPPED:
        needs_run = name.endswith(("-encoders", "-zero-shot"))
        recipe = Recipe.load(name, [f"transfer.from={source}"] if needs_run else [])
        assert recipe.description and (recipe.transfer is not None) == needs_run


@pytest.mark.parametrize("name", ["new-york", "synthetic"])
def test_shipped_transfer_recipes_run(name, tiny_city, other_city, tmp_path):
    def shipped_run(recipe: str, city: City, *changes: str) -> Run:
        loaded = Recipe.load(f"transfer/{recipe}", [f"city={{prepared: {city.path}}}", *QUICK, *changes])
        return run(loaded, tmp_path / recipe, progress=Progress(quiet=True))

    source = shipped_run(name, tiny_city).path
    for variant in ("encoders", "zero-shot"):
        recipe = f"{'singapore' if name == 'new-york' else 'synthetic-8'}-{variant}"
        result = shipped_run(recipe, other_city, f"transfer.from={source}")
        assert np.isfinite(result.metrics.query("metric in ['mae', 'accuracy']")["value"]).all()
