"""The recipes of vit, pg-simclr, urbanvlp and remvc run and resume on the tiny city."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from urbankit import registry
from urbankit.pipeline.run import run
from urbankit.recipe.recipe import Recipe
from urbankit.runs.data import method_inputs
from urbankit.training.pretrain import pretrain
from urbankit.utils.progress import Progress

PRETRAINED = ("pg-simclr", "urbanvlp", "remvc")
SMALL = "{patch_size: 16, hidden_size: 16, layers: 1, heads: 2}"


def short_recipe(name, city, *changes):
    images = {"remvc": (), "pg-simclr": ("rsi",)}.get(name, ("rsi", "svi"))
    return Recipe.load(
        f"baselines/{name}",
        [
            f"city={{prepared: {city.path}, demo: null}}",
            *(f"modalities.{image}={SMALL}" for image in images),
            "evaluation={seeds: [0], floors: [mean], min_class_size: 1, splits: [random]}",
            "report.figures=false",
            *changes,
        ],
    )


@pytest.mark.parametrize("name", ("vit", *PRETRAINED))
def test_recipe_runs(name, tiny_city, tmp_path):
    recipe = short_recipe(name, tiny_city, *(["pretrain.epochs=1"] if name in PRETRAINED else []))
    result = run(recipe, tmp_path / "run", progress=Progress(quiet=True))
    scores = result.metrics.query("model == @name")
    assert set(scores["task"]) == {"co", "pm25", "population_density", "land_use"}
    assert np.isfinite(scores.query("metric in ['mae', 'accuracy']")["value"]).all()
    assert len(result.embeddings) == tiny_city.n_regions and not result.manifest["notes"]


@pytest.mark.parametrize("name", PRETRAINED)
def test_resumed_pre_training_ends_with_the_same_weights(name, tiny_city, tmp_path):
    recipe = short_recipe(name, tiny_city, "pretrain.schedule=constant")

    def trained(folder, epochs):
        torch.manual_seed(recipe.seed)
        method = registry.create("method", recipe.method, method_inputs(recipe, tiny_city)[0])
        settings = recipe.pretrain.model_copy(update={"epochs": epochs, "batch_size": 16})
        pretrain(method, settings, tiny_city.n_regions, 0, tmp_path / folder, Progress(quiet=True))
        return method.state_dict()

    trained("interrupted", 1)
    resumed, uninterrupted = trained("interrupted", 2), trained("uninterrupted", 2)
    assert all(torch.equal(resumed[key], uninterrupted[key]) for key in uninterrupted)
