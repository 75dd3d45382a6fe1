"""Few labels as a protocol: its draws, its floors and the areas below learning curves."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import RidgeCV

from urbankit.evaluation import floors as of_parts
from urbankit.evaluation.few_floors import FEW, evaluate_few_floors
from urbankit.evaluation.few_labels import Draws, area, area_records, check_few, curve_records, curve_summary
from urbankit.evaluation.raw_features import RawFeatures
from urbankit.evaluation.ridge import ALPHAS
from urbankit.evaluation.tasks import TaskData, make_task
from urbankit.recipe.schema import Few
from urbankit.utils.errors import UserError

PROTOCOLS = ("few", "few-spatial")
FLOORS = ("mean", "location", "raw-ridge", "raw-forest", "raw-gp", "raw-stack")


@pytest.fixture(autouse=True)
def few_trees(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(of_parts, "TREES", 10)


def ids(n: int) -> list[str]:
    return [f"region {i:03}" for i in range(n)]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_draws_are_nested_and_never_test_on_a_training_region(protocol: str, small: SimpleNamespace) -> None:
    labelled = small.tasks["y"].labelled
    draws = Draws.of(protocol, labelled, ids(150), small.xy, 6)
    for k in (5, 20, 100):
        for draw in range(6):
            train, test = draws.train(k)[draw], draws.test(k)[draw]
            assert len(train) == k and not set(train) & set(test)
            assert sorted([*train, *test]) == np.flatnonzero(labelled).tolist()
            assert set(draws.train(5)[draw]) <= set(train)
    assert len({tuple(sorted(train)) for train in draws.train(20)}) == 6


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_draws_do_not_depend_on_the_order_of_the_regions(protocol: str, small: SimpleNamespace) -> None:
    labelled, names = small.tasks["y"].labelled, np.array(ids(150))
    order = np.random.default_rng(3).permutation(150)
    one = Draws.of(protocol, labelled, names, small.xy, 4)
    other = Draws.of(protocol, labelled[order], names[order], small.xy[order], 4)
    np.testing.assert_array_equal(names[one.order], names[order][other.order])
    np.testing.assert_array_equal(one.order, Draws.of(protocol, labelled, names, small.xy, 4).order)


def test_district_has_the_regions_nearest_to_one_of_them(small: SimpleNamespace) -> None:
    draws = Draws.of("few-spatial", small.tasks["c"].labelled, ids(150), small.xy, 3)
    for train, test in zip(draws.train(12), draws.test(12), strict=True):
        distance = np.hypot(*(small.xy - small.xy[train[0]]).T)
        assert distance[train].max() <= distance[test].min()


def test_too_few_labelled_regions_are_one_message_for_all_tasks(small: SimpleNamespace) -> None:
    with pytest.raises(UserError) as raised:
        check_few(small.tasks, Few(labels=[5, 145]))
    assert [problem.key for problem in raised.value.problems] == ["tasks.y", "tasks.c"]
    assert "140 regions are labelled" in str(raised.value) and "to 130 or less" in str(raised.value)
    check_few(small.tasks, Few(labels=[5, 130]))


def test_area_is_the_trapezoidal_rule_over_the_logarithm_of_labels() -> None:
    labels, values = np.array([5, 10, 20, 50, 100]), np.array([-0.2, 0.1, 0.3, 0.35, 0.5])
    expected = np.trapezoid(values, np.log10(labels)) / np.log10(100 / 5)
    assert area(labels, values) == pytest.approx(expected)
    assert area(labels[::-1], values[::-1]) == pytest.approx(expected)
    assert area(labels, np.full(5, 0.7)) == pytest.approx(0.7)
    assert area(np.array([20]), np.array([0.3])) == 0.3
    assert np.isnan(area(labels, np.append(values[:4], np.nan)))


def test_areas_and_summaries_are_those_of_the_curves(small: SimpleNamespace) -> None:
    task, rng = small.tasks["y"], np.random.default_rng(0)
    curves = []
    for k in (5, 20):
        test = Draws.of("few", task.labelled, ids(150), small.xy, 4).test(k)
        curves += curve_records("m", "few", task, k, test, task.y[test] + rng.normal(size=test.shape) * k)
    table = pd.DataFrame(curves)
    r2 = table[table["metric"] == "r2"].pivot_table(index="draw", columns="labels", values="value")
    records = area_records(curves, small.tasks)
    assert {record["metric"] for record in records} == {"r2_area"} and [r["seed"] for r in records] == [0, 1, 2, 3]
    assert [r["value"] for r in records] == pytest.approx(r2.mean(axis=1).tolist())
    summary = curve_summary(table).set_index(["metric", "labels"])
    row = summary.loc[("r2", 20)]
    assert row["median"] == pytest.approx(r2[20].median()) and row["mean"] == pytest.approx(r2[20].mean())
    assert (row["lower"], row["upper"]) == pytest.approx(tuple(r2[20].quantile([0.25, 0.75])))


def scored(tasks: dict[str, TaskData], raw: RawFeatures, xy: np.ndarray, floors=FLOORS, protocol="few", **few):
    settings = Few(**({"labels": [5], "draws": 2} | few))
    return evaluate_few_floors(tasks, raw, xy, ids(len(xy)), [protocol], floors, settings)


def test_every_floor_has_a_curve_for_every_task(small: SimpleNamespace) -> None:
    assert set(FLOORS) == set(FEW) == set(of_parts.FLOORS)
    result = scored(small.tasks, small.raw, small.xy, labels=[20, 60])
    table = pd.DataFrame(result.curves)
    main = table[table["metric"].isin(["r2", "macro_f1"])].groupby(["model", "task", "labels"])["value"].mean()
    assert len(main) == len(FLOORS) * 2 * 2 and main.notna().all()
    assert main["floor:raw-ridge", "y", 60] > 0.9 and main["floor:raw-gp", "y", 60] > 0.9
    assert main["floor:raw-ridge", "c", 60] > 0.75 and main["floor:raw-forest", "c", 60] > 0.75
    assert main["floor:mean", "y", 60] <= 0


def test_labels_of_test_regions_change_no_prediction(small: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    draws = Draws.of("few", small.tasks["y"].labelled, ids(150), small.xy, 1)
    y = small.tasks["y"].y.copy()
    y[draws.test(20)[0]] *= -3
    predictions = []
    for task in (small.tasks["y"], make_task("y", "regression", y, transform="standard")):
        seen = []
        monkeypatch.setattr(
            "urbankit.evaluation.few_floors.curve_records", lambda *a, seen=seen: seen.append(a[5]) or []
        )
        scored({"y": task}, small.raw, small.xy, labels=[20], draws=1)
        predictions.append(seen)
    for one, other in zip(*predictions, strict=True):
        np.testing.assert_array_equal(one, other)


def test_ridge_is_that_of_scikit_learn_on_features_standardised_over_all_regions(
    small: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    monkeypatch.setattr("urbankit.evaluation.few_floors.curve_records", lambda *a: seen.append(a[4:]) or [])
    task = small.tasks["y"]
    scored({"y": task}, small.raw, small.xy, ["raw-ridge"], labels=[15], draws=3)
    [(test, predicted)] = seen
    x = small.raw.filled(np.arange(150))
    x = (x - x.mean(axis=0)) / x.std(axis=0)
    train = Draws.of("few", task.labelled, ids(150), small.xy, 3).train(15)
    for draw in range(3):
        expected = RidgeCV(alphas=ALPHAS).fit(x[train[draw]], task.y[train[draw]]).predict(x[test[draw]])
        np.testing.assert_allclose(predicted[draw], expected, rtol=1e-6)


@pytest.mark.parametrize("labels", [["a"] * 5, list("abcde"), ["a", "a", "a", "a", "b"]])
def test_floors_survive_few_classes_among_the_labels(labels: list[str]) -> None:
    """The first five regions of the only draw have these labels; the others have five classes."""
    rng = np.random.default_rng(0)
    xy, raw = rng.uniform(size=(60, 2)), RawFeatures(rng.normal(size=(60, 4)), tuple("wxyz"))
    values = np.array(list("abcde") * 12, dtype=object)
    order = Draws.of("few", np.ones(60, dtype=bool), ids(60), xy, 1).order[0]
    values[order[:5]] = labels
    task = make_task("c", "classification", values, min_class_size=1)
    result = scored({"c": task}, raw, xy, draws=1)
    f1 = {row["model"]: row["value"] for row in result.curves if row["metric"] == "macro_f1"}
    assert set(f1) == {f"floor:{floor}" for floor in FLOORS} and all(0 <= value < 1 for value in f1.values())
    if set(labels) == {"a"}:  # one class is predicted everywhere: F1 of that class, over five
        share = np.mean(task.y[order[5:]] == 0)
        assert list(f1.values()) == pytest.approx([2 * share / (1 + share) / 5] * len(f1))


@pytest.mark.parametrize("transform", ["none", "standard", "log", "soft-log"])
def test_floors_predict_a_target_that_is_constant_among_the_labels(transform: str) -> None:
    rng = np.random.default_rng(0)
    xy, raw = rng.uniform(size=(40, 2)), RawFeatures(rng.normal(size=(40, 4)), tuple("wxyz"))
    y = rng.uniform(1, 9, 40)
    y[Draws.of("few", np.ones(40, dtype=bool), ids(40), xy, 1).train(5)[0]] = 4.0
    task = make_task("y", "regression", y, transform=transform)
    curves = pd.DataFrame(scored({"y": task}, raw, xy, draws=1).curves)
    mae = curves[curves["metric"] == "mae"].set_index("model")["value"]
    np.testing.assert_allclose(mae, mae["floor:mean"], rtol=1e-6)


def test_sizes_and_draws_are_checked() -> None:
    assert Few(labels=[20, 5]).labels == [5, 20]
    with pytest.raises(ValueError, match="twice"):
        Few(labels=[5, 5])
    with pytest.raises(ValueError, match="greater than or equal to 2"):
        Few(labels=[1])
