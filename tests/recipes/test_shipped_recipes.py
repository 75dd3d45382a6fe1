"""Every shipped recipe from end to end, on the tiny city with short trainings."""

import numpy as np
import pytest
from helpers.quick import QUICK

from urbankit.pipeline.run import run
from urbankit.recipe.recipe import Recipe
from urbankit.registry.recipes import shipped
from urbankit.utils.errors import UserError
from urbankit.utils.progress import Progress

# What the tiny city does not have under the recipe's name, or what takes long.
OTHERWISE = {
    "manhattan": ["tasks.check_ins.target=population_density"],
    "manhattan-180": ["tasks.check_ins.target=population_density"],
    "shenzhen": ["tasks.log_carbon.target=co", "tasks.log_population.target=population_density"],
    "urbanmmcl-paper": [
        "modalities.rsi={pretrained: null, patch_size: 16, hidden_size: 16, layers: 1, heads: 2}",
        "modalities.svi={pretrained: null, patch_size: 16, hidden_size: 16, layers: 1, heads: 2}",
        "modalities.text={pretrained: null, hidden_size: 16, layers: 1, heads: 2}",
        "modalities.location={features: 8, hidden: 16, layers: 1, width: 16}",
        "method.dim=16",
        "method.max_observations=2",
    ],
}


# Those of baselines/ and plugins/ name components of packages of their own, and are tested with these; those of
# transfer/ may need a run. A recipe of several cities has a test of its own.
ELSEWHERE = ("baselines/", "plugins/", "transfer/", "us-tracts")
OWN = [name for name in shipped() if not name.startswith(ELSEWHERE)]


@pytest.mark.parametrize("name", OWN)
def test_shipped_recipe_runs(name, tiny_city, tmp_path):
    changes = [
        f"city={{prepared: {tiny_city.path}}}",
        *QUICK,
        *OTHERWISE.get(name, []),
    ]
    recipe = Recipe.load(name, changes)
    assert recipe.name == name.split("/")[-1] and recipe.description
    result = run(recipe, tmp_path / "run", progress=Progress(quiet=True))
    scores = result.metrics.query("model == 'urbanmmcl'")
    assert set(scores["task"]) == set(recipe.tasks)
    assert np.isfinite(scores.query("metric in ['mae', 'accuracy']")["value"]).all()
    assert len(result.embeddings) == tiny_city.n_regions


@pytest.mark.parametrize("name", ["us-tracts", "us-tracts-no-flows"])
def test_recipe_of_several_cities_runs(name, shared_data, tmp_path):
    changes = [f"cities.folder={shared_data / 'us-cities'}", "cities.pattern=l*", "pretrain.hold_out=[lincoln]"]
    recipe = Recipe.load(name, [*changes, *QUICK])
    result = run(recipe, tmp_path / "run", progress=Progress(quiet=True))
    regions = result.embeddings["region_id"]
    assert set(regions.str.split("/").str[0]) == {"lexington", "lincoln"}
    assert np.isfinite(result.metrics.query("model == 'urbanmmcl' and metric == 'mae'")["value"]).all()


def test_recipe_of_several_cities_asks_for_their_folder():
    with pytest.raises(
        UserError, match=r"us-tracts\.yaml:\d+: cities\.folder: is missing\. The folder; each folder in it"
    ):
        Recipe.load("us-tracts")


def test_engines_agree_on_a_complete_run(tiny_recipe, tmp_path):
    tiny_recipe["tasks"] = {}
    one, two = (
        run(Recipe.load(tiny_recipe | {"engine": engine}), tmp_path / engine, progress=Progress(quiet=True)).embeddings
        for engine in ("auto", "torch")
    )
    assert np.allclose(np.stack(one["embedding"]), np.stack(two["embedding"]), atol=1e-3)
