"""Predictions of every region: the stage of a run, `Run.predict` and `urbankit predict`."""

import copy
from dataclasses import replace

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import torch

from urbankit import Run as PublicRun
from urbankit import registry
from urbankit.city.city import City
from urbankit.pipeline import stages
from urbankit.pipeline.run import run
from urbankit.recipe.recipe import Recipe
from urbankit.runs.folder import Run
from urbankit.utils.errors import UserError
from urbankit.utils.progress import Progress

UNLABELLED = slice(None, None, 3)
"""Rows of the regions without a value of pm25."""


@pytest.fixture(scope="module")
def recipe(cheap_recipe):
    recipe = copy.deepcopy(cheap_recipe)
    gp = {"name": "gp", "steps": 5}
    recipe["tasks"] = {"pm25": {"head": gp}, "population_density": {"transform": "log"}, "land_use": {"head": gp}}
    recipe["evaluation"] |= {"seeds": [0], "splits": ["random", "spatial"]}
    recipe["predict"] = {"folds": 3, "interval": 0.7}
    recipe |= {"name": "predicted", "report": {"figures": False}}
    return recipe


def without_labels(patch, rows, change=lambda values: values):
    """Make the target pm25 lack its value in some rows, and change its values."""
    target = City.target

    def changed(city, name):
        original = target(city, name)
        if name != "pm25":
            return original
        values = change(original.values.copy())
        values[rows] = np.nan
        return replace(original, values=values)

    patch.setattr(City, "target", changed)


@pytest.fixture(scope="module", autouse=True)
def measured_in_some_regions():
    with pytest.MonkeyPatch.context() as patch:
        without_labels(patch, UNLABELLED)
        yield


@pytest.fixture(scope="module")
def predicted(recipe, tmp_path_factory) -> Run:
    return run(Recipe.load(recipe), tmp_path_factory.mktemp("predicted") / "run", progress=Progress(quiet=True))


def test_every_region_has_a_prediction_and_labelled_regions_are_predicted_out_of_fold(predicted, tiny_city):
    table, city_labels = predicted.predictions_all, tiny_city.target("pm25").values
    assert table["region_id"].tolist() == tiny_city.region_ids
    assert np.isfinite(table["pm25"]).all()
    assert table["land_use"].notna().all()
    np.testing.assert_array_equal(table["pm25_truth"], city_labels)
    np.testing.assert_array_equal(table["pm25_from"] == "out-of-fold", ~np.isnan(city_labels))
    fits, split = predicted.cross_fits
    assert split == "random"
    assert set(np.unique(fits["pm25"].fold)) == {-1, 0, 1, 2}


def test_a_label_does_not_reach_the_prediction_of_its_region(recipe, predicted, tiny_city, tmp_path, monkeypatch):
    """The label of one region changes: its own prediction stays, those of other regions may change."""
    fits, _ = predicted.cross_fits
    region = int(np.flatnonzero(fits["pm25"].labelled)[0])

    def raised(values):
        values[region] += 100
        return values

    without_labels(monkeypatch, UNLABELLED, raised)
    other = run(Recipe.load(recipe), tmp_path / "run", progress=Progress(quiet=True)).predictions_all
    assert other["pm25_truth"][region] == predicted.predictions_all["pm25_truth"][region] + 100
    assert other["pm25"][region] == predicted.predictions_all["pm25"][region]
    assert not np.array_equal(other["pm25"], predicted.predictions_all["pm25"])


def test_labels_of_one_split_do_not_change_the_method(recipe, tmp_path):
    """Heads for every region start from the pre-trained method, not from one that was fine-tuned to a split."""
    tuned = Recipe.load({**recipe, "finetune": {"epochs": 2, "update": ["all"]}})
    state = stages.build_inputs(tuned, stages.prepare_city(tuned), tmp_path / "run")
    stages.pretrain(state)
    embeddings = stages.embed(state)
    pretrained = {name: value.clone() for name, value in state.method.state_dict().items()}
    fitted = stages.finetune(state, embeddings)
    assert any(result.history for result in fitted.values())
    for name, value in state.method.state_dict().items():
        assert torch.equal(value, pretrained[name]), name


def test_intervals_contain_the_prediction_and_grow_with_the_level(predicted):
    opened = PublicRun.open(predicted.path)
    narrow, wide = opened.predict(interval=0.5), opened.predict(interval=0.7)
    for task in ("pm25", "population_density"):
        assert (wide[f"{task}_lower"] <= wide[task]).all()
        assert (wide[task] <= wide[f"{task}_upper"]).all()
        width = [table[f"{task}_upper"] - table[f"{task}_lower"] for table in (narrow, wide)]
        assert (width[0] <= width[1] + 1e-9).all()
    pd.testing.assert_frame_equal(pd.DataFrame(wide), pd.DataFrame(predicted.predictions_all), check_dtype=False)


def test_class_probabilities_sum_to_one(predicted):
    table = predicted.predictions_all
    columns = [name for name in table.columns if name.startswith("land_use_probability_")]
    np.testing.assert_allclose(table[columns].sum(axis=1), 1)
    of_class = [row[f"land_use_probability_{row['land_use']}"] for _, row in table.iterrows()]
    np.testing.assert_allclose(table["land_use_probability"], of_class)


@pytest.mark.parametrize("head", sorted(entry.name for entry in registry.entries("head")))
def test_every_head_has_calibrated_probabilities(head, recipe, tmp_path):
    tasks = {"land_use": {"head": {"name": head}}}
    finished = run(Recipe.load(recipe | {"tasks": tasks}), tmp_path / "run", progress=Progress(quiet=True))
    scores = finished.metrics.query("metric == 'ece' and model == 'urbanmmcl'").value
    assert len(scores) == 2 and scores.between(0, 1).all()
    probabilities = finished.predictions_all.filter(regex="^land_use_probability_")
    np.testing.assert_allclose(probabilities.sum(axis=1), 1)


def test_the_results_table_has_coverage_width_and_calibration_error(predicted):
    of_method = predicted.metrics[predicted.metrics["model"] == "urbanmmcl"]
    recorded = of_method.groupby("task")["metric"].agg(set)
    assert {"coverage", "width"} <= recorded["pm25"]
    assert "ece" in recorded["land_use"]
    assert "coverage" in str(predicted.table())
    shares = of_method.query("metric in ['coverage', 'ece']")["value"]
    assert shares.between(0, 1).all()


def test_prediction_with_another_split_refits_the_heads(predicted):
    opened = PublicRun.open(predicted.path)
    spatial = opened.predict(split="spatial", tasks="pm25")
    assert not np.array_equal(spatial["pm25"], predicted.predictions_all["pm25"])
    unlabelled = spatial["pm25_from"] == "all labels"
    np.testing.assert_allclose(spatial["pm25"][unlabelled], predicted.predictions_all["pm25"][unlabelled], rtol=1e-4)


def test_a_resumed_run_predicts_the_same(recipe, predicted, tmp_path, monkeypatch):
    from urbankit.training import head_training

    calls = []

    def interrupted(*arguments, name, **settings):
        calls.append(name)
        if name.startswith("predict") and len(calls) > 7:
            raise KeyboardInterrupt
        return finetune(*arguments, name=name, **settings)

    finetune = head_training.finetune
    monkeypatch.setattr(head_training, "finetune", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(Recipe.load(recipe), tmp_path / "run", progress=Progress(quiet=True))
    monkeypatch.setattr(head_training, "finetune", finetune)
    resumed = run(Recipe.load(recipe), tmp_path / "run", resume=True, progress=Progress(quiet=True))
    expected = (predicted.path / "predictions_all.parquet").read_bytes()
    assert (resumed.path / "predictions_all.parquet").read_bytes() == expected


def test_the_command_prints_a_summary_and_writes_a_file(predicted, cli, tmp_path):
    result = cli("predict", predicted.path, "--task", "pm25", "--interval", 0.8, "--out", tmp_path / "pm25.gpkg")
    assert "80% intervals, calibrated on random folds" in " ".join(result.stdout.split())
    frame = gpd.read_file(tmp_path / "pm25.gpkg")
    assert {"pm25", "pm25_lower", "pm25_upper", "pm25_from"} <= set(frame.columns)
    assert "land_use" not in frame.columns
    [error] = cli("predict", predicted.path, "--out", tmp_path / "pm25.gpkg", status=2).errors
    assert "exists" in error
    assert "--force" in error


def test_too_few_labels_for_a_level_give_a_note_with_the_highest_level(predicted, cli):
    result = cli("predict", predicted.path, "--task", "pm25", "--interval", 0.9999)
    assert "too few for an interval of level 0.9999; the highest level that they can calibrate is 0.9" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--task", "pm2"], "--task: the run has no task 'pm2'"),
        (["--interval", "1.5"], "--interval: "),
        (["--split", "spatal"], "--split: unknown split 'spatal'"),
        (["--out", "x.xlsx"], "--out"),
    ],
)
def test_mistakes_in_arguments_of_predict_are_named(predicted, cli, arguments, message):
    assert message in cli("predict", predicted.path, *arguments, status=2).stderr


def test_a_run_without_tasks_has_no_predictions(predicted, tmp_path, cheap_recipe):
    untrained = {**cheap_recipe, "name": "untrained", "tasks": {}, "pretrain": {"epochs": 0}}
    finished = run(Recipe.load(untrained), tmp_path / "run", progress=Progress(quiet=True))
    with pytest.raises(UserError, match="has no task"):
        PublicRun.open(finished.path).predict()


def test_every_region_is_exported(predicted, tmp_path):
    opened = PublicRun.open(predicted.path)
    written = opened.export(["csv", "npy"], what="predictions_all", out=tmp_path / "export")
    table = pd.read_csv(written[0].path)
    assert {"pm25", "pm25_upper", "land_use_probability"} <= set(table.columns)
    assert np.load(tmp_path / "export" / "predictions_all.npy").shape[0] == len(table)
