"""Predictions for a city without its labels: what they see, and the floors beside them."""

import shutil
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
from helpers.edited_city import accept_changes
from helpers.transfer_runs import completed, keys_on

from urbankit import City
from urbankit.city.raw_features import RawFeatures
from urbankit.evaluation.splits import make_split
from urbankit.pipeline.transfer.floors import shared_features
from urbankit.runs.folder import Run


def test_zero_shot_on_the_source_city_itself_is_the_source_run(source, tiny_city, recipe_on, tmp_path):
    keys = keys_on(tiny_city, recipe_on, transfer={"from": str(source), "graph": "keep"})
    result, source_run = completed(keys, tmp_path / "run"), Run.open(source)
    one, two = (np.stack(r.embeddings["embedding"]) for r in (source_run, result))
    np.testing.assert_array_equal(one, two)
    split = result.predictions.query("split != 'all'").reset_index(drop=True)
    assert split["prediction_class"].equals(source_run.predictions["prediction_class"])
    np.testing.assert_allclose(split["prediction"], source_run.predictions["prediction"], rtol=1e-6)


def test_zero_shot_uses_no_label_of_the_city(keep, other_city, tmp_path):
    """Other labels, fewer of them: the same predictions."""
    before = completed(keep, tmp_path / "before")
    relabelled = Path(shutil.copytree(other_city.path, tmp_path / "relabelled"))
    draw = np.random.default_rng(0)
    for path in (relabelled / "targets").glob("*.parquet"):
        table = pd.read_parquet(path)
        table["value"] = draw.permutation(table["value"].to_numpy())
        table.to_parquet(path)
    accept_changes(relabelled)
    after = completed(keep | {"city": {"prepared": str(relabelled)}}, tmp_path / "after")
    assert not before.metrics["value"].equals(after.metrics["value"])
    rows = ["region_id", "task", "split", "seed"]
    one, two = (r.predictions.set_index(rows) for r in (before, after))
    shared = one.index.intersection(two.index)
    assert len(shared) > 100
    regression = [row for row in shared if row[1] != "land_use"]
    assert one.loc[regression, "prediction"].equals(two.loc[regression, "prediction"])
    assert one.loc[shared, "prediction_class"].equals(two.loc[shared, "prediction_class"])


def test_zero_shot_trains_nothing_and_scores_beside_the_floors(keep, other_city, tmp_path):
    result = completed(keep, tmp_path / "run")
    assert not (tmp_path / "run/checkpoints/best.safetensors").exists()
    assert set(result.metrics["split"]) == {"random", "spatial", "all"}
    everywhere = result.predictions.query("split == 'all' and task == 'co'")
    assert len(everywhere) == int(np.isfinite(other_city.target("co").values).sum())
    splits = {model: set(rows["split"]) for model, rows in result.metrics.groupby("model")}
    assert splits == {
        "urbanmmcl": {"random", "spatial", "all"},
        "floor:mean": {"random", "spatial"},
        "floor:carried-mean": {"random", "spatial", "all"},
    }
    assert "all: urbanmmcl" in str(result.table())


def test_stack_and_fitted_floors_are_transferred_without_coordinates(keep, tmp_path):
    keep["evaluation"] |= {"floors": ["raw-gp", "raw-stack"], "splits": ["spatial"]}
    result = completed(keep | {"tasks": {"co": {"head": {"name": "stack"}}}}, tmp_path / "run")
    assert {"floor:carried-raw-gp", "floor:carried-raw-stack"} <= set(result.floor_predictions["model"])
    assert np.isfinite(result.predictions["prediction"]).all()
    members = set(result.member_weights["member"])
    assert "boosting on features" in members and "smoother on coordinates" not in members


def test_transferred_floors_are_fitted_to_the_labels_of_the_heads(keep, tiny_city, tmp_path):
    keep["evaluation"]["floors"] = ["mean", "location", "raw-forest"]
    result = completed(keep | {"tasks": {"co": {"head": {"name": "gp"}}}}, tmp_path / "run")
    labels = tiny_city.target("co").values
    train = make_split("random", tiny_city.xy, 0).of(np.isfinite(labels)).train
    floors = result.floor_predictions.query("split == 'all'").set_index("model")
    assert set(floors.index) == {"floor:carried-mean", "floor:carried-raw-forest"}
    np.testing.assert_allclose(floors.loc["floor:carried-mean", "prediction"], labels[train].mean())
    assert floors.loc["floor:carried-raw-forest", "prediction"].between(np.nanmin(labels), np.nanmax(labels)).all()
    assert list(floors.loc["floor:carried-mean", "region_id"]) == list(
        result.predictions.query("split == 'all'").region_id
    )


def test_classes_of_only_one_city_are_noted_and_scored_as_wrong(keep, other_city, tmp_path):
    renamed = Path(shutil.copytree(other_city.path, tmp_path / "renamed"))
    path = renamed / "targets/land_use.parquet"
    table = pd.read_parquet(path)
    keep["tasks"] = {"land_use": {"head": {"name": "forest"}}}
    lost = completed(keep, tmp_path / "before").predictions.query("split == 'all'")["prediction_class"].mode()[0]
    pd.DataFrame({"value": table["value"].replace(lost, "elsewhere")}).to_parquet(path)
    accept_changes(renamed)
    result = completed(keep | {"city": {"prepared": str(renamed)}}, tmp_path / "run")
    notes = " ".join(result.manifest["notes"])
    assert (
        f"this city lacks; predicting them counts as wrong: {lost}" in notes and "never predicted: elsewhere" in notes
    )
    rows = result.predictions.query("task == 'land_use' and split == 'all'")
    assert not (rows["prediction_class"] == "elsewhere").any() and (rows["prediction_class"] == lost).any()
    scores = result.metrics.query("task == 'land_use' and split == 'all' and model == 'urbanmmcl'")
    accuracy = scores.set_index("metric").loc["accuracy", "value"]
    assert accuracy == pytest.approx((rows["truth_class"] == rows["prediction_class"]).mean())


def test_permuting_the_regions_permutes_the_embeddings(keep, other_city, source, tiny_city, recipe_on, tmp_path):
    """Without views: walks are drawn in the order of the regions."""
    plain = keys_on(tiny_city, recipe_on, views={}, tasks={})
    completed(plain, tmp_path / "source")
    sources = Path(shutil.copytree(other_city.path.parent, tmp_path / "permuted"))
    frame = gpd.read_file(sources / "regions.gpkg")
    (sources / "regions.gpkg").unlink()
    frame.sample(frac=1, random_state=0).to_file(sources / "regions.gpkg")
    permuted = City.prepare(sources / "city.yaml", out=tmp_path / "prepared")
    assert permuted.region_ids != other_city.region_ids
    transfer = {"from": str(tmp_path / "source"), "graph": "keep"}
    one, two = (
        completed(keys_on(city, recipe_on, views={}, tasks={}, transfer=transfer), tmp_path / name).embeddings
        for name, city in (("one", other_city), ("two", permuted))
    )
    two = two.set_index("region_id").loc[one["region_id"]]
    np.testing.assert_allclose(np.stack(one["embedding"]), np.stack(two["embedding"]), atol=1e-4)


def test_features_of_transferred_floors_are_clipped_to_the_source_range():
    source = RawFeatures(np.array([[0.0, 1, 5], [9, 3, np.nan]]), ("x", "a", "b"))
    target = RawFeatures(np.array([[7.0, 2, 4], [np.nan, 0, 4]]), ("b", "a", "flow in component 1"))
    shared = shared_features(source, target)
    assert shared.names == ("b", "a")
    np.testing.assert_array_equal(shared.values, [[5, 1], [np.nan, 3], [5, 2], [np.nan, 1]])


def test_own_statistics_give_columns_the_level_of_the_source_city():
    draw = np.random.default_rng(0)
    source = RawFeatures(draw.normal(size=(50, 2)), ("a", "b c"))
    values = 100 + 5 * draw.normal(size=(40, 2))
    values[0, 1] = np.nan
    shared = shared_features(source, RawFeatures(values, ("B_C", "a")), "own").values
    np.testing.assert_allclose(np.nanmedian(shared[50:], axis=0), np.median(source.values[:, ::-1], axis=0), atol=0.5)
    assert np.isnan(shared[50, 1]) and np.isfinite(shared).sum() == 179
