from dataclasses import asdict

import numpy as np
import pytest

from urbankit.evaluation.tasks import make_task
from urbankit.evaluation.transforms import TargetTransform
from urbankit.utils.errors import UserError


def classes(**sizes: int) -> np.ndarray:
    return np.array([name for name, size in sizes.items() for _ in range(size)], dtype=object)


def test_regression_task_keeps_its_values_and_marks_missing_ones() -> None:
    values = np.arange(20.0)
    values[3] = np.nan
    task = make_task("density", "regression", values, unit="people/km²")
    assert task.labelled.sum() == 19 and not task.labelled[3]
    assert (task.metric, task.outputs, task.unit) == ("r2", 1, "people/km²")
    np.testing.assert_array_equal(task.y, values)


def test_small_classes_are_left_out_with_a_note() -> None:
    values = classes(water=1, park=12, housing=30)
    values[-1] = None
    task = make_task("use", "classification", values, min_class_size=10)
    assert task.classes == ("housing", "park") and task.outputs == 2
    assert task.y.tolist() == [-1] + [1] * 12 + [0] * 29 + [-1]
    assert task.labelled.sum() == 41
    assert task.notes == ("use: class 'water' has 1 region, fewer than min_class_size 10: left out",)


@pytest.mark.parametrize(
    ("kind", "values", "options", "message"),
    [
        ("regression", np.full(30, np.nan), {}, "tasks.t: the target has no value for any region"),
        ("classification", np.full(30, None, dtype=object), {}, "no value for any region"),
        ("regression", np.arange(9.0), {}, "only 9 regions have a value"),
        ("regression", np.r_[np.arange(20.0), np.inf], {}, "1 values are infinite or beyond 1e.30 .regions 20."),
        ("regression", np.arange(20.0) - 2, {"transform": "log"}, "2 are negative .regions 0, 1.*transform: standard"),
        ("regression", np.arange(20.0) - 2, {"scale": "log"}, "t.scale: .*negative"),
        ("regression", np.arange(20.0), {"transform": "sqrt"}, "unknown transform 'sqrt'; known: none, standard, log"),
        ("classification", classes(a=30), {}, "needs two classes of at least 10 regions.*'a' 30"),
        ("classification", classes(a=30, b=1), {}, "'a' 30, 'b' 1"),
    ],
)
def test_unusable_targets_are_refused(kind: str, values: np.ndarray, options: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        make_task("t", kind, values, **options)


def test_all_unusable_targets_are_reported_at_once() -> None:
    values = np.r_[np.arange(20.0), -1, np.inf]
    with pytest.raises(UserError) as caught:
        make_task("t", "regression", values, transform="log")
    assert len(caught.value.problems) == 2


def test_a_task_on_the_logarithm_is_scored_in_it() -> None:
    values = np.r_[0, 10.0 ** np.arange(19)]
    task = make_task("carbon", "regression", values, unit="t", scale="log")
    np.testing.assert_allclose(task.y, np.log1p(values))
    assert task.unit == "log(1 + t)"


def test_records_and_predictions_of_a_split() -> None:
    task = make_task("use", "classification", classes(a=10, b=10))
    regions = np.array([0, 12])
    records = task.records("urbanmmcl", "spatial", 3, regions, np.array([0, 0]))
    assert {(r["task"], r["model"], r["split"], r["seed"]) for r in records} == {("use", "urbanmmcl", "spatial", 3)}
    assert {r["metric"]: r["value"] for r in records}["accuracy"] == 0.5
    table = task.predictions("urbanmmcl", "spatial", 3, {"train": regions[:1], "test": regions[1:]}, np.array([0, 0]))
    assert table["fold"].tolist() == ["train", "test"]
    assert table["truth"].tolist() == [0.0, 1.0] and table["truth_class"].tolist() == ["a", "b"]
    assert table["prediction_class"].tolist() == ["a", "a"]


@pytest.mark.parametrize("kind", ["none", "standard", "log"])
def test_inverse_transform_restores_the_values(kind: str) -> None:
    y = np.array([0.0, 1, 20, 500, np.nan])
    transform = TargetTransform.fit(kind, y[:3])
    np.testing.assert_allclose(transform.inverse(transform.transform(y[:3])), y[:3], atol=1e-9)
    assert np.isnan(transform.transform(y)[-1])
    assert TargetTransform(**asdict(transform)) == transform


def test_transform_uses_the_statistics_of_the_training_part() -> None:
    transform = TargetTransform.fit("standard", np.array([1.0, 3.0]))
    assert (transform.mean, transform.std) == (2.0, 1.0)
    assert TargetTransform.fit("standard", np.full(4, 5.0)).transform(np.array([6.0])) == 1.0


def test_inverse_of_the_logarithm_is_bounded_by_the_training_values() -> None:
    train = np.array([0.0, 10, 100])
    bounds = TargetTransform.fit("log", train).inverse(np.array([-1e3, 1e3]))
    assert bounds[0] == 0
    assert bounds[1] == pytest.approx(101 * np.e - 1)
