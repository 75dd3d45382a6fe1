from types import SimpleNamespace

import numpy as np
import pytest
from sklearn.linear_model import Ridge

from urbankit.evaluation import floors as module
from urbankit.evaluation.floors import ALPHAS, FLOORS, Candidate, Case, Floor, Inputs, evaluate_floors
from urbankit.evaluation.raw_features import RawFeatures
from urbankit.evaluation.splits import Split, make_split
from urbankit.evaluation.tasks import make_task
from urbankit.utils.errors import UserError


def splits_of(small: SimpleNamespace, seeds: int = 2) -> dict:
    return {(p, s): make_split(p, small.xy, s) for p in ("random", "spatial") for s in range(seeds)}


@pytest.fixture
def few_trees(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TREES", 20)


def predictions(results, model: str, task: str, split: str = "random", seed: int = 0) -> dict[int, float]:
    table = results.predictions
    one = table[(table.model == model) & (table.task == task) & (table.split == split) & (table.seed == seed)]
    return dict(zip(one["region"], one["prediction"], strict=True))


def test_every_floor_is_scored_on_every_task_and_split(small: SimpleNamespace, few_trees: None) -> None:
    results = evaluate_floors(small.tasks, small.raw, small.xy, splits_of(small), list(FLOORS))
    keys = {(r["task"], r["model"], r["split"], r["seed"]) for r in results.records}
    assert len(keys) == 2 * len(FLOORS) * 2 * 2
    value = {(r["task"], r["model"], r["split"], r["seed"], r["metric"]): r["value"] for r in results.records}
    assert value["y", "floor:raw-ridge", "random", 0, "r2"] > 0.95
    assert value["c", "floor:raw-forest", "spatial", 1, "macro_f1"] > 0.85
    assert abs(value["y", "floor:location", "random", 0, "r2"]) < 0.6
    assert value["y", "floor:mean", "random", 0, "r2"] <= 0


def test_mean_and_location_equal_direct_computations(small: SimpleNamespace) -> None:
    split = make_split("random", small.xy, 0)
    results = evaluate_floors(small.tasks, small.raw, small.xy, {("random", 0): split}, ["mean", "location"])
    y, c = small.tasks["y"].y, small.tasks["c"].y
    train = split.train[~np.isnan(y[split.train])]
    assert set(predictions(results, "floor:mean", "y").values()) == {y[train].mean()}
    assert set(predictions(results, "floor:mean", "c").values()) == {float(np.bincount(c[split.train]).argmax())}
    for region, predicted in predictions(results, "floor:location", "y").items():
        nearest = train[np.argsort(np.hypot(*(small.xy[train] - small.xy[region]).T))[:5]]
        assert predicted == pytest.approx(y[nearest].mean())


def test_ridge_is_fitted_on_training_and_selected_on_validation_labels(small: SimpleNamespace) -> None:
    split = make_split("random", small.xy, 0)
    task = {"y": small.tasks["y"]}
    predicted = predictions(
        evaluate_floors(task, small.raw, small.xy, {("random", 0): split}, ["raw-ridge"]), "floor:raw-ridge", "y"
    )
    x = small.raw.filled(split.train)
    x = (x - x[split.train].mean(axis=0)) / x[split.train].std(axis=0)
    parts, y = split.of(task["y"].labelled), task["y"].y
    fits = [Ridge(alpha).fit(x[parts.train], y[parts.train]) for alpha in ALPHAS]
    best = min(fits, key=lambda fit: np.square(fit.predict(x[parts.validation]) - y[parts.validation]).sum())
    np.testing.assert_allclose([predicted[r] for r in parts.test], best.predict(x[parts.test]), rtol=1e-6)


def test_labels_of_the_test_part_change_no_prediction(small: SimpleNamespace, few_trees: None) -> None:
    split = make_split("spatial", small.xy, 0)
    y = small.tasks["y"].y.copy()
    y[split.test] = np.where(np.isnan(y[split.test]), np.nan, 1e6)
    other = {"y": make_task("y", "regression", y, transform="standard")}
    for floor in FLOORS:
        before, after = (
            evaluate_floors(tasks, small.raw, small.xy, {("spatial", 0): split}, [floor])
            for tasks in ({"y": small.tasks["y"]}, other)
        )
        model = f"floor:{floor}"
        assert predictions(before, model, "y", "spatial") == predictions(after, model, "y", "spatial")


def test_results_are_cached_by_content(small: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    splits = splits_of(small)
    first = evaluate_floors(small.tasks, small.raw, small.xy, splits, ["mean"])
    monkeypatch.setitem(FLOORS, "mean", Floor(lambda case: pytest.fail("computed again")))
    again = evaluate_floors(small.tasks, small.raw, small.xy, splits, ["mean"])
    assert again.records == first.records
    moved = {"y": make_task("y", "regression", small.tasks["y"].y + 1, transform="standard")}
    with pytest.raises(pytest.fail.Exception, match="computed again"):
        evaluate_floors(moved, small.raw, small.xy, splits, ["mean"])


def test_missing_features_become_the_training_median_with_one_flag_for_columns_missing_together() -> None:
    values = np.array([[1.0, 2, np.nan], [3, 4, np.nan], [np.nan, np.nan, np.nan], [5, 60, np.nan]])
    filled = RawFeatures(values, ("a", "b", "c")).filled(np.array([0, 1]))
    assert filled.shape == (4, 5)
    np.testing.assert_array_equal(filled[:, :3], [[1, 2, 0], [3, 4, 0], [2, 3, 0], [5, 60, 0]])
    flags = {tuple(column) for column in filled[:, 3:].T}
    assert flags == {(0, 0, 1, 0), (1, 1, 1, 1)}


def test_floors_accept_a_training_part_of_one_class(few_trees: None) -> None:
    rng = np.random.default_rng(0)
    xy = np.column_stack([np.arange(60.0), np.zeros(60)])
    task = make_task("c", "classification", np.array(["a"] * 40 + ["b"] * 20, dtype=object))
    split = Split(np.arange(36), np.arange(36, 48), np.arange(48, 60))
    raw = RawFeatures(rng.normal(size=(60, 3)), tuple("abc"))
    results = evaluate_floors({"c": task}, raw, xy, {("spatial", 0): split}, list(FLOORS))
    assert (results.predictions["prediction"] == 0).all()


def test_ridge_chooses_between_values_and_logarithms(few_trees: None) -> None:
    rng = np.random.default_rng(2)
    x = rng.normal(size=(200, 3))
    values = {"straight": 20 + x @ [3.0, 1, 0], "exponential": np.expm1(5 + x @ [0.8, 0.4, 0])}
    tasks = {name: make_task(name, "regression", y, transform="log") for name, y in values.items()}
    split = {("random", 0): make_split("random", x[:, :2], 0)}
    results = evaluate_floors(tasks, RawFeatures(x, tuple("abc")), x[:, :2], split, ["raw-ridge"])
    r2 = {record["task"]: record["value"] for record in results.records if record["metric"] == "r2"}
    assert r2["straight"] > 0.999 and r2["exponential"] > 0.99


def test_unknown_floors_are_refused_and_a_run_without_tasks_has_none(small: SimpleNamespace) -> None:
    with pytest.raises(UserError, match=r"unknown floor 'raw-forrest'. Did you mean 'raw-forest'"):
        evaluate_floors(small.tasks, small.raw, small.xy, splits_of(small), ["raw-forrest"])
    results = evaluate_floors({}, small.raw, small.xy, splits_of(small), list(FLOORS))
    assert results.records == [] and results.predictions.empty


@pytest.mark.parametrize("transform", ["log", "standard"])
def test_forest_of_many_regions_is_the_full_forest_of_the_chosen_form(monkeypatch, transform: str) -> None:
    draw = np.random.default_rng(0)
    x = draw.normal(size=(90, 4))
    task = make_task("y", "regression", np.exp(2 * x[:, 0] + 0.1 * draw.normal(size=90)), transform=transform)
    split = Split(np.arange(60), np.arange(60, 75), np.arange(75, 90))
    case = Case(task, split, Inputs(RawFeatures(x, tuple("abcd")), None, split))
    monkeypatch.setattr(module, "TREES", 12)
    monkeypatch.setattr(module, "TREES_TO_CHOOSE", 5)
    monkeypatch.setattr(module, "ROWS_A_TREE", 40)
    chosen = case.choose([Candidate(module.forest(case, 5), form) for form in case.transforms])
    full = Candidate(module.forest(case, 12), chosen.transform)
    case.fit(full)
    np.testing.assert_array_equal(module.raw_forest(case), case.predict(full))
