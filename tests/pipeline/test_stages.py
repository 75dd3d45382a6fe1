"""The stages of a run, called one after another from Python."""

import json

import pytest
import torch

from urbankit.pipeline import resume, stages
from urbankit.pipeline.run import run
from urbankit.recipe.recipe import Recipe
from urbankit.runs.folder import Run
from urbankit.utils.errors import UserError
from urbankit.utils.progress import Progress


@pytest.fixture
def recipe(tiny_recipe) -> Recipe:
    tiny_recipe["tasks"] = {"pm25": {}}
    tiny_recipe["finetune"]["update"] = []
    tiny_recipe["evaluation"]["floors"] = ["mean"]
    return stages.load_recipe(tiny_recipe)


def test_stages_called_one_by_one_write_the_same_files_as_a_run(recipe, tmp_path):
    city = stages.prepare_city(recipe)
    state = stages.build_inputs(recipe, city, tmp_path / "stages")
    stages.pretrain(state)
    embeddings = stages.embed(state)
    assert embeddings.shape == (city.n_regions, state.method.dim)
    predictions = stages.finetune(state, embeddings)
    scores = stages.score(state, embeddings, predictions)
    assert {record["model"] for record in scores.floors.records} == {"floor:mean"}
    stages.report(state)
    run(recipe, tmp_path / "run", progress=Progress(quiet=True))
    for file in ("embeddings.parquet", "predictions.parquet", "metrics.json", "history.parquet"):
        assert (tmp_path / "stages" / file).read_bytes() == (tmp_path / "run" / file).read_bytes(), file
    assert Run.open(tmp_path / "stages").manifest["status"] == "done"


def test_finetune_accepts_embeddings_that_no_stage_computed(recipe, tmp_path):
    city = stages.prepare_city(recipe)
    state = stages.build_inputs(recipe, city, tmp_path / "run")
    embeddings = torch.randn(city.n_regions, state.method.dim)
    scores = stages.score(state, embeddings, stages.finetune(state, embeddings))
    assert {record["task"] for record in scores.method.records} == {"pm25"}
    assert not (tmp_path / "run" / "embeddings.parquet").exists()


@pytest.mark.parametrize("key", ["city_hash", "files", "pretrained"])
def test_resume_refuses_a_run_that_started_from_other_data(key, recipe, tmp_path):
    city = stages.prepare_city(recipe)
    manifest = resume.open_run(recipe, tmp_path / "run")
    stages.build_inputs(recipe, city, tmp_path / "run", manifest=manifest)
    manifest.values[key] = {"modalities.other": {"other.csv": "0"}} if key == "files" else "other"
    manifest.write()
    before = json.loads((tmp_path / "run" / "manifest.json").read_text())
    with pytest.raises(UserError, match="since this run started"):
        run(recipe, tmp_path / "run", resume=True, progress=Progress(quiet=True))
    assert json.loads((tmp_path / "run" / "manifest.json").read_text()) == before
