"""Distributions: their coordinates, metrics, floors and parts."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.spatial.distance import jensenshannon
from scipy.stats import entropy

from urbankit.city.raw_features import RawFeatures
from urbankit.city.texts import Text
from urbankit.evaluation.few_floors import FEW, FewCase
from urbankit.evaluation.floors import FLOORS, Case, Inputs
from urbankit.evaluation.metrics import metrics, primary, score
from urbankit.evaluation.parts import part_predictions, part_tasks, share_rows
from urbankit.evaluation.shares import LEAST, MOST, RAREST, ROUNDED, ShareTransform, ilr_basis
from urbankit.evaluation.splits import Split
from urbankit.evaluation.tasks import TaskData, largest, make_task
from urbankit.utils.errors import UserError

RNG = np.random.default_rng(0)
SHARES = RNG.dirichlet([2, 3, 1, 0.5], 60)
PARTS = ("a", "b", "c", "d")


def test_coordinates_are_those_of_egozcue() -> None:
    x = SHARES[0]
    expected = [np.sqrt(j / (j + 1)) * np.log(np.prod(x[:j]) ** (1 / j) / x[j]) for j in range(1, 4)]
    assert_allclose(np.log(x) @ ilr_basis(4), expected)


@pytest.mark.parametrize("parts", [2, 3, 7])
def test_the_basis_is_orthonormal_and_blind_to_a_factor(parts: int) -> None:
    basis = ilr_basis(parts)
    assert_allclose(basis.T @ basis, np.eye(parts - 1), atol=1e-12)
    assert_allclose(basis.sum(axis=0), 0, atol=1e-12)


def test_coordinates_lead_back_to_shares_that_sum_to_one() -> None:
    form = ShareTransform.fit(SHARES[:40])
    z = form.transform(SHARES)
    assert_allclose(form.inverse(z), form.positive(SHARES))
    common = (form.limit <= SHARES).all(axis=1)
    assert_allclose(form.inverse(z)[common], SHARES[common])
    assert_allclose(z[:40].mean(axis=0), 0, atol=1e-12)
    assert_allclose(z[:40].std(axis=0), 1)
    wild = form.inverse(RNG.normal(0, 1e3, (50, 3)))
    assert np.isfinite(wild).all() and (wild >= 0).all()
    assert_allclose(wild.sum(axis=1), 1)


def test_zeros_are_replaced_and_ratios_of_the_others_stay() -> None:
    train = np.array([[0.5, 0.5, 0.0], [0.2, 0.6, 0.2], [0.3, 0.7, 0.0]])
    form = ShareTransform.fit(train)
    limit = np.minimum(RAREST * train.mean(axis=0), MOST)
    replaced = form.positive(train)
    assert_allclose(form.limit, limit)
    assert_allclose(replaced[0, 2], ROUNDED * limit[2])
    assert_allclose(replaced[2, 0] / replaced[2, 1], 3 / 7)
    assert_allclose(replaced.sum(axis=1), 1)
    assert_allclose(replaced[1], train[1])


def test_a_small_share_of_a_part_that_has_almost_everything_is_no_zero() -> None:
    train = np.array([[0.95, 0.05], [0.91, 0.09], [0.88, 0.12], [0.05, 0.95]])
    form = ShareTransform.fit(train)
    assert_allclose(form.limit, [MOST, MOST])
    assert_allclose(form.positive(train), train)


def test_only_zeros_of_a_prediction_are_replaced() -> None:
    task = distribution()
    prediction = np.array([[0.0, 0.5, 0.499, 0.001]])
    replaced = task.without_zeros(np.arange(5, 40), prediction)
    assert_allclose(replaced[0, 0], ROUNDED * ShareTransform.fit(SHARES[5:40]).limit[0])
    assert_allclose(replaced[0, 1:] / replaced[0, 1], prediction[0, 1:] / 0.5)


def test_a_part_that_no_training_region_has_stays_finite() -> None:
    form = ShareTransform.fit(np.array([[0.4, 0.6, 0.0], [0.6, 0.4, 0.0]]))
    assert form.limit[2] == LEAST
    assert np.isfinite(form.transform(np.array([[0.1, 0.1, 0.8]]))).all()
    assert np.isnan(form.transform(np.full((1, 3), np.nan))).all()


def test_metrics_agree_with_scipy() -> None:
    prediction = RNG.dirichlet([2, 2, 2, 2], 60)
    scores = score("distribution", SHARES, prediction)
    assert list(scores) == ["kl", "js", "mae"] and primary("distribution") == "kl"
    assert scores["kl"] == pytest.approx(np.mean([entropy(p, q) for p, q in zip(SHARES, prediction, strict=True)]))
    distances = [jensenshannon(p, q, base=2) for p, q in zip(SHARES, prediction, strict=True)]
    assert scores["js"] == pytest.approx(np.mean(distances))
    assert scores["mae"] == pytest.approx(np.abs(SHARES - prediction).mean())
    assert not any(metrics()[name].higher_is_better for name in scores)


def test_the_truth_has_no_divergence_and_opposites_have_a_finite_one() -> None:
    assert score("distribution", SHARES, SHARES) == pytest.approx({"kl": 0, "js": 0, "mae": 0}, abs=1e-7)
    apart = score("distribution", np.array([[1.0, 0.0]]), np.array([[0.0, 1.0]]))
    assert apart["js"] == pytest.approx(1) and apart["kl"] == pytest.approx(-np.log(LEAST), rel=1e-3)


def test_a_prediction_that_is_the_truth_but_for_rounding_has_no_divergence() -> None:
    rng = np.random.default_rng(4)
    for _ in range(20):
        prediction = SHARES * (1 + rng.choice([-2e-16, 0, 2e-16], SHARES.shape))
        scores = score("distribution", SHARES, prediction / prediction.sum(axis=1, keepdims=True))
        assert 0 <= scores["kl"] < 1e-12 and 0 <= scores["js"] < 1e-6
    absent = np.array([[0.5, 0.5, 0.0], [1.0, 0.0, 0.0]])
    other = np.array([[0.0, 0.3, 0.7], [0.2, 0.8, 0.0]])
    expected = np.mean([jensenshannon(p, q, base=2) for p, q in zip(absent, other, strict=True)])
    assert score("distribution", absent, other)["js"] == pytest.approx(expected)


def distribution(n_missing: int = 5) -> TaskData:
    values = SHARES.copy()
    values[:n_missing] = np.nan
    return make_task("age", "distribution", values, parts=PARTS)


def test_a_task_knows_its_parts_and_which_regions_have_a_label() -> None:
    task = distribution()
    assert (task.outputs, task.metric, task.classes, task.parts) == (3, "kl", (), PARTS)
    assert_array_equal(task.labelled, np.arange(60) >= 5)
    assert_array_equal(largest(task.y)[:6], [-1] * 5 + [SHARES[5].argmax()])


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"transform": "log"}, "tasks.age.transform: `transform: log` is of a regression"),
        ({"transform": "soft-log"}, "log-ratios of its parts: remove the key"),
        ({"scale": "log"}, "tasks.age.scale: `scale: log` is of a regression"),
    ],
)
def test_a_logarithm_of_shares_is_refused(keys: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        make_task("age", "distribution", SHARES, parts=PARTS, **keys)


def test_too_few_labels_are_refused() -> None:
    with pytest.raises(UserError, match="only 4 regions have a value"):
        make_task("age", "distribution", np.where(np.arange(60)[:, None] < 4, SHARES, np.nan), parts=PARTS)
    with pytest.raises(UserError, match="no value for any region"):
        make_task("age", "distribution", np.full((60, 4), np.nan), parts=PARTS)


def case(task: TaskData, order: np.ndarray | None = None) -> Case:
    order = np.arange(60) if order is None else order
    features = np.column_stack([np.log(SHARES[:, :2] + 0.01), np.random.default_rng(1).normal(size=(60, 2))])[order]
    xy = np.random.default_rng(2).uniform(0, 1e4, (60, 2))[order]
    place = np.argsort(order)
    parts = (place[np.arange(5, 40)], place[np.arange(40, 50)], place[np.arange(50, 60)])
    return Case(task, Split(*parts), Inputs(RawFeatures(features, ("x",) * 4), xy, Split(*parts)))


@pytest.mark.parametrize("floor", FLOORS)
def test_every_floor_predicts_shares(floor: str) -> None:
    one = case(distribution())
    prediction = FLOORS[floor].predict(one)
    assert prediction.shape == (10, 4) and (prediction > 0).all()
    assert_allclose(prediction.sum(axis=1), 1)
    mean = score("distribution", one.task.y[50:], np.tile(one.task.y[5:40].mean(axis=0), (10, 1)))
    if floor.startswith("raw"):
        assert score("distribution", one.task.y[50:], prediction)["kl"] < mean["kl"]
    if floor == "mean":
        assert_allclose(prediction[3], SHARES[5:40].mean(axis=0))


@pytest.mark.parametrize("floor", ["mean", "location", "raw-ridge", "raw-gp"])
def test_floors_do_not_depend_on_the_order_of_regions(floor: str) -> None:
    order, task = np.random.default_rng(3).permutation(60), distribution()
    moved = make_task("age", "distribution", task.y[order], parts=PARTS)
    assert_allclose(FLOORS[floor].predict(case(moved, order)), FLOORS[floor].predict(case(task)), atol=1e-6)


@pytest.mark.parametrize("floor", FEW)
def test_every_floor_predicts_shares_from_few_labels(floor: str) -> None:
    one = case(distribution())
    train = np.stack([np.arange(5, 20), np.arange(20, 35)])
    few = FewCase(one.task, train, np.stack([np.arange(40, 60)] * 2), one.inputs)
    prediction = FEW[floor](few)
    assert prediction.shape == (2, 20, 4) and (prediction > 0).all()
    assert_allclose(prediction.sum(axis=2), 1)


def test_predictions_have_a_column_for_each_part_and_the_largest() -> None:
    task = distribution()
    table = task.predictions("m", "random", 0, {"test": np.array([4, 5])}, SHARES[[10, 11]])
    assert np.isnan(table["truth"][0]) and pd.isna(table["truth_class"][0])
    assert table["prediction_class"].tolist() == [PARTS[i] for i in SHARES[[10, 11]].argmax(axis=1)]
    assert_allclose(table[[f"prediction_share_{part}" for part in PARTS]], SHARES[[10, 11]])
    assert_allclose(table.loc[1, [f"truth_share_{part}" for part in PARTS]].astype(float), SHARES[5])


def test_parts_are_regressions_for_maps_and_tables() -> None:
    task = distribution()
    titled = TaskData(**{**vars(task), "title": "Age", "class_texts": {"a": Text("Young", "Below 18.")}})
    other = make_task("density", "regression", np.arange(60.0))
    tasks = part_tasks([other, titled])
    assert [one.name for one in tasks] == ["density", *(f"age_share_{part}" for part in PARTS)]
    assert [one.kind for one in tasks] == ["regression"] * 5
    assert (tasks[1].label, tasks[1].description, tasks[2].label) == ("Age: Young", "Below 18.", "Age: b")
    assert_array_equal(tasks[1].y, task.y[:, 0])
    rows = {"test": np.array([5, 6])}
    table = pd.concat([other.predictions("m", "random", 0, rows, np.array([1.0, 2.0])),
                       task.predictions("m", "random", 0, rows, SHARES[[7, 8]])])  # fmt: skip
    parts = part_predictions(table)
    assert parts["task"].value_counts().to_dict() == dict.fromkeys([one.name for one in tasks], 2)
    of_b = parts[parts["task"] == "age_share_b"]
    assert_allclose(of_b["prediction"].astype(float), SHARES[[7, 8], 1])
    assert_allclose(of_b["truth"].astype(float), SHARES[[5, 6], 1])
    assert len(share_rows(table)) == 8 and share_rows(table[table["task"] == "density"]).empty
