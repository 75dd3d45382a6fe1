"""Runs that predict a distribution, from the city to the report, the exports and other cities."""

import json
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
from helpers import share_city
from helpers.share_city import COLUMNS, IDS, UNLABELLED
from numpy.testing import assert_allclose

import urbankit
from urbankit import City, Recipe, Run, UserError
from urbankit.analysis.queries import clusters, neighbours
from urbankit.evaluation.metrics import score
from urbankit.pipeline.predict_run import predict_run
from urbankit.pipeline.prior import city_prior
from urbankit.report.figures.context import FigureContext
from urbankit.report.figures.scatter import draw as draw_scatter
from urbankit.report.page.map_data import run_data
from urbankit.report.page.missing import Missing
from urbankit.runs.context import RunContext
from urbankit.runs.data import load_tasks
from urbankit.runs.prediction_table import task_columns

SHARES = [f"age_share_{part}" for part in COLUMNS]
FLOORS = ["mean", "location", "raw-ridge", "raw-forest", "raw-gp", "raw-stack"]
EVALUATION = {"splits": ["random"], "seeds": [0], "floors": [], "controls": [], "min_class_size": 2}


@pytest.fixture(scope="module")
def city(tmp_path_factory: pytest.TempPathFactory) -> City:
    return share_city.prepare(tmp_path_factory.mktemp("shares"))


@pytest.fixture(scope="module")
def finished(city: City, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run with a distribution and classes, every floor, and the protocols of folds and few labels."""
    keys: dict[str, Any] = {
        "tasks": {"age": {"head": {"name": "ridge"}}, "wealth": {"head": {"name": "ridge"}}},
        "evaluation": {
            "splits": ["random", "folds", "few"], "few": {"labels": [10, 20], "draws": 2}, "folds": {"number": 3},
            "seeds": [0, 1], "floors": FLOORS, "controls": ["untrained"], "min_class_size": 2,
        },
    }  # fmt: skip
    return urbankit.run(share_city.recipe(city, **keys), out=tmp_path_factory.mktemp("run") / "run")


def truth(city: City) -> np.ndarray:
    return city.target("age").values


@pytest.mark.parametrize("head", ["ridge", "gp", "forest", "linear", "stack", "mlp"])
def test_every_head_predicts_shares_that_sum_to_one(head: str, city: City, tmp_path: Path) -> None:
    run = urbankit.run(share_city.recipe(city, head, evaluation=EVALUATION), out=tmp_path / "run")
    shares = run.predictions_all[SHARES].to_numpy()
    assert shares.shape == (len(IDS), 3) and (shares > 0).all()
    assert_allclose(shares.sum(axis=1), 1)
    labelled = np.setdiff1d(np.arange(len(IDS)), UNLABELLED)
    mean = np.tile(truth(city)[labelled].mean(axis=0), (len(labelled), 1))
    of_mean, of_head = (score("distribution", truth(city)[labelled], p) for p in (mean, shares[labelled]))
    assert of_head["kl"] < 0.7 * of_mean["kl"] or head in ("linear", "mlp")
    if head == "stack":
        weights = run.member_weights.groupby(["task", "seed"])["weight"].sum()
        assert_allclose(weights, 1)


def test_predictions_have_the_shares_and_the_recorded_scores(finished: Run, city: City) -> None:
    table = finished.predictions
    rows = table[(table["task"] == "age") & (table["split"] == "random") & (table["seed"] == 0)]
    predicted = rows[[f"prediction_share_{part}" for part in COLUMNS]].to_numpy(np.float64)
    true = rows[[f"truth_share_{part}" for part in COLUMNS]].to_numpy(np.float64)
    assert_allclose(true, truth(city)[[IDS.index(region) for region in rows["region_id"]]])
    recorded = finished.metrics.query("task == 'age' and split == 'random' and seed == 0 and model == 'urbanmmcl'")
    assert recorded.set_index("metric")["value"].to_dict() == pytest.approx(score("distribution", true, predicted))
    assert rows["prediction_class"].tolist() == [COLUMNS[i] for i in predicted.argmax(axis=1)]
    of_classes = table[table["task"] == "wealth"]
    assert of_classes.filter(like="_share_").isna().all(axis=None) and set(of_classes["truth_class"]) == {
        "rich",
        "poor",
    }


def test_every_floor_and_protocol_is_scored(finished: Run) -> None:
    scores = finished.metrics.query("task == 'age'").groupby(["split", "metric"])["model"].agg(set)
    methods = {"urbanmmcl", "floor:untrained", *(f"floor:{name}" for name in FLOORS)}
    assert scores["random", "kl"] == scores["random", "js"] == scores["few", "kl_area"] == methods
    assert scores["folds", "kl"] == {"urbanmmcl", *(f"floor:{name}" for name in FLOORS[:4])}
    assert set(scores.index.get_level_values("metric")) == {"kl", "js", "mae", "kl_area"}
    assert np.isfinite(finished.metrics.query("task == 'age'")["value"]).all()
    shown = finished.table().markdown()
    assert "KL divergence ↓" in shown and "JS distance ↓" in shown and "coverage" not in shown


def test_labels_of_the_test_part_change_no_prediction(city: City, tmp_path: Path) -> None:
    file = share_city.write_sources(tmp_path / "sources")
    run = urbankit.run(share_city.recipe(city, evaluation=EVALUATION, predict={"folds": 0}), out=tmp_path / "one")
    tested = run.predictions["region_id"]
    table = pd.read_csv(file.parent / "age.csv")
    table.loc[table["id"].isin(tested), COLUMNS] = [[1, 2, 3]] * int(table["id"].isin(tested).sum())
    table.to_csv(file.parent / "age.csv", index=False)
    other = City.prepare(file, out=tmp_path / "prepared")
    again = urbankit.run(share_city.recipe(other, evaluation=EVALUATION, predict={"folds": 0}), out=tmp_path / "two")
    columns = [f"prediction_share_{part}" for part in COLUMNS]
    assert_allclose(run.predictions[columns], again.predictions[columns])


def test_predictions_of_every_region(finished: Run, city: City, tmp_path: Path) -> None:
    predictions = predict_run(finished)
    table = predictions.table
    assert_allclose(table[SHARES].sum(axis=1), 1)
    assert_allclose(table[[f"age_truth_share_{part}" for part in COLUMNS]], truth(city))
    assert table["age"].tolist() == [COLUMNS[i] for i in table[SHARES].to_numpy().argmax(axis=1)]
    assert table["age_truth"].isna().to_numpy().nonzero()[0].tolist() == UNLABELLED
    assert not {"age_lower", "age_upper", "age_probability"} & set(table)
    assert (table["age_from"] == "all labels").to_numpy().nonzero()[0].tolist() == UNLABELLED
    [row] = [row for row in predictions.summary()[1] if row[0] == "age"]
    assert row[1:3] == ["57", "3"] and row[3].startswith("KL divergence 0.") and row[4] == "–"
    pd.testing.assert_frame_equal(pd.DataFrame(table), pd.DataFrame(finished.predictions_all))
    again = finished.predict(tasks="age", split="spatial")
    assert_allclose(again[SHARES].sum(axis=1), 1)


def test_map_layers_of_each_part_and_of_the_divergence(finished: Run, city: City) -> None:
    missing = Missing()
    layers = {layer["id"]: layer for layer in run_data(RunContext.of(finished, city), "run", missing)["layers"]}
    for part in SHARES:
        ids = {f"truth:{part}", f"prediction:{part}:random", f"residual:{part}:random", f"everywhere:{part}"}
        assert ids <= set(layers)
    assert layers[f"truth:{SHARES[0]}"]["title"] == "Age groups: Children"
    assert layers[f"truth:{SHARES[0]}"]["description"] == "People below 18."
    divergence = layers["divergence:age:random"]
    assert (divergence["unit"], divergence["group"]) == ("nats", "Age groups")
    assert "uncertainty:wealth" in layers and not any(name.startswith("uncertainty:age") for name in layers)


def test_report_and_card_describe_it_in_words(finished: Run) -> None:
    page = (finished.path / "report.html").read_text(encoding="utf-8")
    assert "diverges by" in page and "nats from the true shares" in page
    card = (finished.path / "README.md").read_text(encoding="utf-8")
    assert "KL divergence, mean of 2 seeds" in card and "type: tabular-regression" in card


def test_figures_show_each_part(finished: Run, city: City, tmp_path: Path) -> None:
    context = FigureContext(RunContext.of(finished, city))
    assert [task.name for task in context.predicted("regression")] == SHARES
    task = context.predicted("regression")[0]
    values = context.out_of_sample(task, "random")
    tested = finished.predictions.query("task == 'age' and split == 'random'")
    assert np.isfinite(values).sum() == tested["region_id"].nunique()
    context.folder = tmp_path
    [drawing] = draw_scatter(context)
    assert drawing.png.exists() and "R²" not in drawing.caption


def test_neighbours_and_clusters_have_a_column_for_each_part(finished: Run, city: City) -> None:
    context = RunContext.of(finished, city)
    assert list(neighbours(context, "r10"))[-4:] == [*SHARES, "wealth"]
    assert set(SHARES) <= set(clusters(context, 3).summary)


def test_exports_have_the_shares(finished: Run, tmp_path: Path) -> None:
    finished.export("csv", out=tmp_path / "csv")
    finished.export("csv", what="predictions", out=tmp_path / "csv")
    finished.export("gpkg", what="predictions_all", out=tmp_path / "gpkg")
    everywhere = pd.read_csv(next((tmp_path / "csv").rglob("predictions_all.csv")))
    assert_allclose(everywhere[SHARES], finished.predictions_all[SHARES])
    tested = pd.read_csv(next((tmp_path / "csv").rglob("predictions.csv")))
    assert set(tested["age_random_prediction"].dropna()) <= set(COLUMNS)
    assert {f"{part}_{name}" for part in SHARES for name in ("truth", "random_prediction", "random_std")} <= set(tested)
    layer = gpd.read_file(next((tmp_path / "gpkg").rglob("*.gpkg")))
    assert_allclose(layer[SHARES], finished.predictions_all[SHARES])


def test_a_model_has_no_head_for_it(finished: Run, city: City, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    finished.export("model", out=folder)
    model = urbankit.Model.open(folder)
    assert list(model.heads) == ["wealth"]
    assert model.predict(city).filter(like="age").empty


def test_a_model_as_prior_leaves_it_alone_with_a_note(finished: Run, tmp_path: Path) -> None:
    finished.export("model", out=tmp_path / "model")
    other = share_city.prepare(tmp_path / "two", name="two", east=700_000)
    recipe = Recipe.load(share_city.recipe(other, prior=str(tmp_path / "model")))
    prior = city_prior(recipe, tmp_path / "model", other, load_tasks(recipe, other))
    assert prior.predictions == {}
    assert any("age starts from nothing: the model has no task of this target" in note for note in prior.notes)


def test_heads_of_another_city_predict_it(finished: Run, tmp_path: Path) -> None:
    other = share_city.prepare(tmp_path / "two", name="two", east=700_000, columns=COLUMNS[::-1])
    keys = {
        "transfer": {"from": str(finished.path), "graph": "keep"},
        "evaluation": EVALUATION | {"floors": ["mean", "raw-ridge"]},
    }
    run = urbankit.run(share_city.recipe(other, **keys), out=tmp_path / "run")
    recorded = run.metrics.query("split == 'all' and metric == 'kl'").set_index("model")["value"]
    assert recorded["urbanmmcl"] < 0.1  # the cities have the same table and counts
    assert recorded["floor:carried-raw-ridge"] < 0.1 < recorded["floor:carried-mean"]
    renamed = share_city.prepare(tmp_path / "three", name="three", east=900_000, columns=COLUMNS[:2])
    with pytest.raises(UserError, match=r"its parts are under 18, 18_to_64, over/64 in the source city"):
        urbankit.run(share_city.recipe(renamed, **keys), out=tmp_path / "refused")


def test_several_cities_with_supervised_pretraining(tmp_path: Path) -> None:
    names = {"one": 500_000, "two": 700_000}
    for name, east in names.items():
        share_city.prepare(tmp_path / name, name=name, east=east)
    keys: dict[str, Any] = {
        "cities": [{"prepared": str(tmp_path / name / "prepared")} for name in names],
        "evaluation": EVALUATION, "predict": {"folds": 0},
    }  # fmt: skip
    recipe = share_city.recipe(City.open(tmp_path / "one" / "prepared"), **keys)
    del recipe["city"]
    run = urbankit.run(recipe, out=tmp_path / "run")
    assert_allclose(run.predictions[[f"prediction_share_{part}" for part in COLUMNS]].sum(axis=1), 1)
    supervised = {"epochs": 2, "supervised": {"tasks": ["age"]}, "hold_out": ["two"]}
    run = urbankit.run(recipe | {"pretrain": supervised}, out=tmp_path / "supervised")
    losses = run.history[run.history["name"] == "supervised age"]["value"]
    assert len(losses) and np.isfinite(losses).all()


def test_tasks_with_a_column_in_common_are_refused_with_both_names(tmp_path: Path) -> None:
    file = share_city.write_sources(tmp_path)
    text = file.read_text() + "  age_share_18_to_64: {table: rent.csv, region: id, column: rent}\n"
    file.write_text(text)
    rent = np.random.default_rng(5).normal(size=len(IDS))
    pd.DataFrame({"id": IDS, "rent": rent}).to_csv(tmp_path / "rent.csv", index=False)
    city = City.prepare(file, out=tmp_path / "prepared")
    tasks: dict[str, Any] = {name: {"head": {"name": "ridge"}} for name in ("age", "age_share_18_to_64")}
    recipe = Recipe.load(share_city.recipe(city, tasks=tasks))
    with pytest.raises(UserError) as caught:
        load_tasks(recipe, city)
    [problem] = caught.value.problems
    assert str(problem).startswith("tasks.age_share_18_to_64: its predictions and those of tasks.age would both have")
    renamed = {"age": tasks["age"], "old": {"target": "age_share_18_to_64"}}
    assert list(load_tasks(Recipe.load(share_city.recipe(city, tasks=renamed)), city)) == ["age", "old"]


def test_names_of_columns_are_those_of_the_table(finished: Run, city: City) -> None:
    tasks = load_tasks(finished.recipe, city)
    written = [name for name in finished.predictions_all if name not in ("region_id", "geometry")]
    assert sorted(name for task in tasks.values() for name in task_columns(task)) == sorted(written)


def test_parts_named_like_bounds_are_no_interval(tmp_path: Path) -> None:
    names = ["middle", "middle_lower", "middle_upper"]
    file = share_city.write_sources(tmp_path, columns=names, classes=None)
    ages = pd.read_csv(tmp_path / "age.csv").rename(columns=dict(zip(COLUMNS, names, strict=True)))
    ages.to_csv(tmp_path / "age.csv", index=False)
    city = City.prepare(file, out=tmp_path / "prepared")
    run = urbankit.run(share_city.recipe(city, evaluation=EVALUATION), out=tmp_path / "run")
    with_city, alone = RunContext.of(run, city), RunContext.of(run, city)
    alone.tasks = []
    for context in (with_city, alone):
        layers = {layer["id"] for layer in run_data(context, "run", Missing())["layers"]}
        assert "everywhere:age_share_middle" in layers
        assert not any(name.startswith("uncertainty") for name in layers)


def test_a_logarithm_is_refused_before_anything_is_trained(city: City, tmp_path: Path) -> None:
    recipe = share_city.recipe(city, tasks={"age": {"transform": "log"}})
    with pytest.raises(UserError, match="a distribution is learned in log-ratios of its parts: remove the key"):
        urbankit.run(recipe, out=tmp_path / "run")


def test_a_resumed_run_has_the_same_predictions(city: City, finished: Run) -> None:
    """What a checkpoint keeps is what it returns: the manifest of the run counts its splits as done."""
    fits, split = finished.cross_fits
    assert (split, fits["age"].parts, fits["wealth"].parts) == ("random", tuple(COLUMNS), ())
    assert fits["age"].by_fold.shape == (3, len(IDS), 3)
    assert_allclose(fits["age"].task.y, truth(city))
    assert json.loads((finished.path / "manifest.json").read_text())["status"] == "done"
