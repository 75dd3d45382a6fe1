"""A run whose heads start from the predictions of a model of another city."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from helpers.transfer_runs import Keys, completed, keys_on

import urbankit
from urbankit import City, Model, Recipe, Run, UserError
from urbankit.city.manifest import read_manifest, write_manifest
from urbankit.pipeline.outline import count_inside, outline
from urbankit.pipeline.predict_run import predict_run
from urbankit.utils.files import write_json

TASKS = {
    "co": {"head": {"name": "gp"}},
    "population_density": {"transform": "log", "head": {"name": "ridge"}},
    "land_use": {"head": {"name": "ridge"}},
}


@pytest.fixture(scope="session")
def model(source, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("prior") / "model"
    Run.open(source).export("model", out=folder)
    return folder


def recipe_with(model: Path | None, city: City, recipe_on, **more) -> Keys:
    """A recipe; all synthetic cities lie in one place."""
    prior = {"prior": model and str(model), "allow_leak": ["prior"]}
    keys = keys_on(city, recipe_on, tasks=TASKS, predict={"folds": 3}, **prior) | more
    keys["pretrain"]["epochs"] = 1
    return keys


@pytest.fixture
def keys(model, other_city, recipe_on) -> Keys:
    return recipe_with(model, other_city, recipe_on)


@pytest.fixture(scope="module")
def finished(model, other_city, recipe_on, tmp_path_factory) -> Run:
    return completed(recipe_with(model, other_city, recipe_on), tmp_path_factory.mktemp("finished") / "run")


@pytest.fixture(scope="module")
def without(other_city, recipe_on, tmp_path_factory) -> Run:
    """The same run whose heads start from nothing."""
    return completed(recipe_with(None, other_city, recipe_on), tmp_path_factory.mktemp("without") / "run")


def changed_city(folder: Path, city: City, change) -> City:
    """A copy of a city with another manifest."""
    shutil.copytree(city.path, folder)
    manifest = read_manifest(folder)
    change(manifest)
    write_manifest(folder, manifest)
    return City.open(folder)


def test_the_run_says_which_model_its_heads_start_from(finished, model):
    facts = finished.manifest["prior"]
    assert facts["model"] == str(model)
    assert facts["tasks"] == list(TASKS)
    assert facts["content_hash"] == Model.open(model).content_hash
    line = f"tiny, trained on {facts['city']} (co, population_density, land_use)"
    assert any(note == f"heads start from the predictions of {line}" for note in finished.manifest["notes"])
    assert f"Heads start from a model of other cities: {line}".replace("_", r"\_") in (
        finished.path / "README.md"
    ).read_text().replace("\\(", "(").replace("\\)", ")")
    assert line in (finished.path / "report.html").read_text()


def test_a_prior_changes_the_method_and_no_floor(finished, without):
    with_prior, from_nothing = (
        run.metrics.set_index(["task", "model", "split", "seed", "metric"])["value"] for run in (finished, without)
    )
    floors = with_prior.index.get_level_values("model").str.startswith("floor:")
    pd.testing.assert_series_equal(with_prior[floors], from_nothing[floors])
    for task in TASKS:
        assert not with_prior[~floors].xs(task).equals(from_nothing[~floors].xs(task))


def test_cross_fitted_predictions_have_intervals_with_a_prior(finished, without):
    table = finished.predictions_all
    assert (table["co_lower"] <= table["co"]).all()
    assert (table["co"] <= table["co_upper"]).all()
    np.testing.assert_allclose(table.filter(regex="land_use_probability_.").sum(axis=1), 1)
    assert not np.array_equal(table["co"], without.predictions_all["co"])


def test_another_split_of_the_predictions_uses_the_prior_again(finished):
    table = predict_run(finished, split="spatial").table
    assert len(table) == len(finished.predictions_all)


def test_a_run_of_a_run_folder_equals_that_of_the_exported_model(finished, source, keys, tmp_path):
    run = completed(keys | {"prior": str(source)}, tmp_path / "run")
    pd.testing.assert_frame_equal(run.metrics, finished.metrics)


def test_a_run_with_a_prior_resumes_to_the_same_bits(finished, keys, tmp_path):
    cut = Path(shutil.copytree(finished.path, tmp_path / "cut"))
    (cut / "checkpoints/finetune/random-0.safetensors").unlink()
    for name in ("predictions.parquet", "metrics.parquet"):
        (cut / name).unlink()
    completed(keys, cut, resume=True)
    for name in ("predictions.parquet", "predictions_all.parquet", "metrics.parquet"):
        assert (cut / name).read_bytes() == (finished.path / name).read_bytes(), name


def test_resume_refuses_a_changed_model(keys, model, source, tmp_path):
    copy = Path(shutil.copytree(model, tmp_path / "model"))
    keys |= {"prior": str(copy)}
    completed(keys, tmp_path / "run")
    shutil.rmtree(copy)
    keys_of_source = Run.open(source).recipe.model_dump(mode="json")
    keys_of_source["seed"] = 5
    other = completed(keys_of_source, tmp_path / "other")
    urbankit.Run.open(other.path).export("model", out=copy)
    with pytest.raises(UserError, match="has changed since this run started"):
        completed(keys, tmp_path / "run", resume=True)


def test_a_task_can_be_left_out_and_one_that_the_model_lacks_starts_from_nothing(keys, tmp_path):
    keys["tasks"] = {
        "co": TASKS["co"],
        "population_density": TASKS["population_density"] | {"prior": False},
        "pm25": {"head": {"name": "ridge"}},
    }
    keys["predict"] = {"folds": 0}
    manifest = completed(keys, tmp_path / "run").manifest
    assert manifest["prior"]["tasks"] == ["co"]
    notes = [note for note in manifest["notes"] if "starts from nothing" in note]
    assert len(notes) == 1
    assert notes[0].startswith("prior: pm25 starts from nothing: the model has no task of this target (it has co, ")


def test_a_model_of_this_city_is_refused(model, tiny_city, recipe_on, tmp_path):
    with pytest.raises(UserError, match="which is the city of this run: its predictions would contain labels"):
        completed(recipe_with(model, tiny_city, recipe_on), tmp_path / "run")
    assert not (tmp_path / "run").exists() or not list((tmp_path / "run").iterdir())


def test_a_model_of_overlapping_regions_is_refused(keys, tmp_path):
    """All synthetic cities lie in one place."""
    del keys["allow_leak"]
    with pytest.raises(UserError, match=r"\d\d of the 49 regions of this city lie.*allow_leak: \[prior\]"):
        completed(keys, tmp_path / "run")


def test_neighbouring_cities_do_not_overlap(tiny_city):
    regions = tiny_city.regions.geometry
    assert count_inside(outline(regions), regions) == len(regions)
    assert (
        count_inside(outline(regions), regions.translate(xoff=regions.total_bounds[2] - regions.total_bounds[0])) == 0
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"co": {"unit": "ppb"}},
            r"tasks\.co: it is a regression in .* in the city of the model and .* in ppb here",
        ),
        ({}, r"tasks\.co: the model has `scale: own`, this recipe `scale: log`"),
    ],
)
def test_a_prior_of_another_quantity_is_refused(change, message, model, other_city, recipe_on, tmp_path):
    def apply(manifest: dict) -> None:
        for target, values in change.items():
            manifest["spec"]["targets"][target].update(values)

    city = changed_city(tmp_path / "city", other_city, apply)
    keys = recipe_with(model, city, recipe_on, tasks={"co": TASKS["co"] | ({} if change else {"scale": "log"})})
    with pytest.raises(UserError, match=message):
        completed(keys, tmp_path / "run")


def test_a_prior_of_another_kind_is_refused(model, keys, monkeypatch, tmp_path):
    heads = Model.open(model).heads
    monkeypatch.setattr(Model, "heads", heads | {"land_use": replace(heads["co"], name="land_use", target="land_use")})
    with pytest.raises(UserError, match=r"tasks\.land_use: it is a regression .* and a classification here"):
        completed(keys, tmp_path / "run")


def test_tasks_are_matched_by_target_and_classes_by_name(model, keys, monkeypatch, tmp_path):
    heads = Model.open(model).heads
    head = heads["land_use"]
    names = tuple(name.upper() for name in head.classes[:-1])
    monkeypatch.setattr(Model, "heads", {"use": replace(head, name="use", classes=(*names, "Sea"))})
    keys["tasks"] = {"kind_of_place": TASKS["land_use"] | {"target": "land_use"}}
    manifest = completed(keys | {"predict": {"folds": 0}}, tmp_path / "run").manifest
    assert manifest["prior"]["tasks"] == ["kind_of_place"]
    lacking = [note for note in manifest["notes"] if "the model does not have the classes" in note]
    assert len(lacking) == 1
    assert head.classes[-1] in lacking[0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"prior": "nowhere"}, r"prior: unknown model 'nowhere'.*no folder of this name.*list-components --kind model"),
        (
            {"tasks": {"co": {"head": {"name": "mlp"}}}},
            r"tasks\.co\.head: the head mlp does not take a prior; use one of gp, kriging, ridge, .*`prior: false`",
        ),
        ({"finetune": {"paradigm": "linear_probe"}}, r"prior: `finetune\.paradigm: linear_probe` replaces all heads"),
    ],
)
def test_wrong_recipes_with_a_prior_are_refused(change, message, keys):
    with pytest.raises(UserError, match=message):
        Recipe.load(keys | change)


def test_a_prior_beside_a_zero_shot_transfer_is_refused(keys, source):
    keys["transfer"] = {"from": str(source), "graph": "keep"}
    with pytest.raises(UserError, match=r"prior: `transfer\.graph: keep` fits heads to the labels of another city"):
        Recipe.load(keys)


def test_a_path_starts_from_the_folder_of_the_recipe(model, keys, tmp_path):
    shutil.copytree(model, tmp_path / "model")
    keys["prior"] = "model"
    write_json(tmp_path / "recipe.yaml", keys)
    assert Recipe.load(tmp_path / "recipe.yaml").prior == (tmp_path / "model").resolve()
