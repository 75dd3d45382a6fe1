"""The super learner: its weights, its folds, and small or odd training parts."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from sklearn.ensemble import HistGradientBoostingRegressor, RandomForestRegressor
from sklearn.linear_model import Ridge

from urbankit import registry
from urbankit.evaluation.splits import grid_blocks, random_split, spatial_split, split_groups
from urbankit.evaluation.tasks import make_task
from urbankit.evaluation.transforms import TargetTransform
from urbankit.heads.base import RegionData
from urbankit.heads.stacking import members
from urbankit.heads.stacking.features import BINS, Bins, Scaler, Table
from urbankit.heads.stacking.members import Training
from urbankit.heads.stacking.super_learner import (
    BALANCE,
    GROUPS_TO_LEAVE,
    Features,
    SuperLearner,
    balanced_logits,
    log_shares,
)
from urbankit.heads.stacking.weights import FOLDS, inner_folds, simplex_weights
from urbankit.registry.component import Use
from urbankit.training.predictor import Labels

N = 120


@pytest.fixture(autouse=True)
def fewer_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(members, "PROCESS", members.PROCESS.model_copy(update={"steps": 5}))


@pytest.fixture(scope="module")
def city() -> dict:
    rng = np.random.default_rng(0)
    xy = rng.uniform(0, 10_000, (N, 2))
    z, features = rng.normal(size=(N, 12)), rng.normal(size=(N, 5))
    features[:7, 3] = np.nan
    return {"xy": xy, "z": torch.from_numpy(z).float(), "features": features, "signal": z[:, 0] + features[:, 1]}


def fitted(city: dict, labels: torch.Tensor, rows: np.ndarray, outputs: int = 1, seed: int = 0, **regions):
    torch.manual_seed(seed)
    head = registry.create("head", Use(name="stack"), 12, outputs)
    data = RegionData(city["features"], (2, 3), city["xy"], **regions)
    head.fit_regions(city["z"][rows], labels[rows], [8, 4], data.rows(rows))
    return head, head.predict_regions(city["z"], data)


@pytest.mark.parametrize("seed", range(5))
def test_weights_equal_those_of_an_independent_solver(seed):
    rng = np.random.default_rng(seed)
    truth = rng.normal(size=60)
    predictions = truth[:, None] * rng.uniform(0, 1, 6) + rng.normal(0, 0.7, (60, 6))

    def error(w):
        return np.square(predictions @ w - truth).mean()

    sum_of_one = {"type": "eq", "fun": lambda w: w.sum() - 1}
    start = np.full(6, 1 / 6)
    solved = minimize(error, start, bounds=[(0, None)] * 6, constraints=sum_of_one, method="SLSQP", tol=1e-12)
    weights = simplex_weights(predictions, truth)
    assert weights.min() >= 0
    assert weights.sum() == pytest.approx(1)
    np.testing.assert_allclose(weights, solved.x, atol=1e-4)
    assert error(weights) <= error(solved.x) + 1e-12


def test_a_member_without_error_gets_all_weight():
    truth = np.arange(4.0)
    np.testing.assert_array_equal(simplex_weights(np.stack([truth + 1, truth], axis=1), truth), [0, 1])


@pytest.mark.parametrize("n_groups, n_folds", [(30, 5), (3, 3), (1, 5)])
def test_inner_folds_keep_groups_together_unless_there_is_only_one(n_groups, n_folds):
    groups = np.arange(N) % n_groups
    folds = inner_folds(N, groups, np.random.default_rng(0))
    assert len(np.unique(folds)) == n_folds
    if n_groups > 1:
        assert all(len(np.unique(folds[groups == group])) == 1 for group in range(n_groups))
    sizes = np.bincount(folds)
    assert sizes.max() - sizes.min() <= N // n_groups


def test_folds_are_spatial_only_under_the_spatial_split(city, monkeypatch):
    np.testing.assert_array_equal(split_groups("spatial", city["xy"], 10), grid_blocks(city["xy"], 10))
    assert split_groups("random", city["xy"], 10) is None
    rows = spatial_split(city["xy"], 0).train
    blocks = grid_blocks(city["xy"])
    drawn = []

    def record(x: np.ndarray, training: Training) -> members.Fitted:
        drawn.append(training.folds)
        return members.Fitted(np.zeros_like(training.y), members.constant(np.zeros(1)))

    monkeypatch.setattr(members, "mean", record)
    fitted(city, torch.from_numpy(city["signal"]).float(), rows, groups=blocks)
    assert len(np.unique(drawn[0])) == FOLDS
    for block in np.unique(blocks[rows]):
        assert len(np.unique(drawn[0][blocks[rows] == block])) == 1


@pytest.mark.parametrize("kind", ["regression", "classification"])
def test_labels_outside_the_training_part_change_no_prediction(kind, city):
    split = random_split(N, 0)
    values = city["signal"] if kind == "regression" else np.where(city["signal"] > 0, "a", "b").astype(object)
    shuffled = values.copy()
    for part in (split.test, split.validation):
        shuffled[part] = np.random.default_rng(1).permutation(values[part])
    predicted = []
    for y in (values, shuffled):
        task = make_task("y", kind, y, transform="standard")
        labels = Labels(task, split, 0.0, torch.device("cpu"))
        _, outputs = fitted(city, labels.y, split.train, task.outputs, transform=labels.transform)
        predicted.append(labels.predict(outputs))
    np.testing.assert_array_equal(*predicted)


def test_the_same_seed_gives_the_same_bits_and_another_seed_other_folds(city):
    labels, rows = torch.from_numpy(city["signal"]).float(), np.arange(80)
    first, again, other = (fitted(city, labels, rows, seed=seed)[1] for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_a_region_has_the_same_prediction_among_other_regions_in_any_order(city):
    for labels, outputs in ((torch.from_numpy(city["signal"]).float(), 1), (torch.arange(N) % 3, 3)):
        head, predicted = fitted(city, labels, np.arange(80), outputs)
        order = np.random.default_rng(2).permutation(N)[:50]
        data = RegionData(city["features"], (2, 3), city["xy"]).rows(order)
        np.testing.assert_allclose(head.predict_regions(city["z"][order], data), predicted[order], rtol=1e-9)


def test_the_stack_uses_the_embedding_and_the_features(city):
    labels, rows = torch.from_numpy(city["signal"]).float(), np.arange(80)
    head, outputs = fitted(city, labels, rows)
    weights = head.member_weights()
    assert sum(weights.values()) == pytest.approx(1)
    assert min(weights.values()) >= 0
    assert set(weights) == {
        "mean", "smoother on coordinates",
        *(f"{model} on embedding" for model in ("ridge", "gp", "gp with trend")),
        *(f"{model} on features" for model in ("ridge", "gp", "gp with trend", "forest", "boosting")),
    }  # fmt: skip
    assert sum(weight for name, weight in weights.items() if name.endswith("embedding")) > 0.2
    assert sum(weight for name, weight in weights.items() if name.endswith("features")) > 0.2
    error = (outputs[80:, 0] - labels[80:]).square().mean()
    assert error < 0.5 * labels[80:].var()


def test_without_features_the_stack_reads_the_embedding_alone(city):
    labels = torch.from_numpy(city["signal"]).float()
    torch.manual_seed(0)
    head = registry.create("head", Use(name="stack", features=False), 12, 1)
    data = RegionData(city["features"], (2, 3), city["xy"])
    head.fit_regions(city["z"][:80], labels[:80], [8, 4], data.rows(np.arange(80)))
    assert all(name == "mean" or name.endswith("on embedding") for name in head.member_weights())
    others = replace(data, features=-city["features"], xy=city["xy"][::-1])
    assert torch.equal(head.predict_regions(city["z"], data), head.predict_regions(city["z"], others))


@pytest.mark.parametrize("n", [1, 2, 3, 4])
@pytest.mark.parametrize("outputs", [1, 3])
def test_fewer_labels_than_folds_give_finite_predictions(n, outputs, city):
    labels = torch.from_numpy(city["signal"]).float() if outputs == 1 else torch.arange(N) % 3
    _, predicted = fitted(city, labels, np.arange(n), outputs)
    assert predicted.shape == (N, outputs)
    assert torch.isfinite(predicted).all()


def test_a_class_that_an_inner_fold_lacks_can_be_predicted(city):
    labels = torch.from_numpy((city["signal"] > 1.2).astype(np.int64))
    labels[:3] = 2
    head, outputs = fitted(city, labels, np.arange(80), 4)
    probabilities = head.probabilities(outputs)
    assert torch.isfinite(outputs).all()
    assert torch.allclose(probabilities.sum(dim=1), torch.ones(N, dtype=torch.float64))
    assert probabilities[:, 3].max() < 1e-3  # no training region is of this class
    assert (outputs.argmax(dim=1)[80:] == labels[80:]).float().mean() > 0.6


@pytest.mark.parametrize("transform", ["none", "standard", "log", "soft-log"])
def test_a_constant_target_is_predicted_everywhere(transform, city):
    values = np.full(N, 7.0)
    learned = TargetTransform.fit(transform, values)
    _, outputs = fitted(city, torch.from_numpy(learned.transform(values)).float(), np.arange(80), transform=learned)
    np.testing.assert_allclose(learned.inverse(outputs[:, 0].numpy()), 7, rtol=1e-6)


def test_weights_minimise_the_error_in_the_targets_own_units(city, monkeypatch):
    rows = np.arange(80)
    y = np.exp(2 * city["signal"])[rows]
    learned = TargetTransform.fit("log", y)
    features = Features({"features": Table(city["features"][rows], (5,))})
    kinds = SuperLearner._kinds
    monkeypatch.setattr(SuperLearner, "_kinds", lambda self, features: kinds(self, features)[:2])
    labels = learned.transform(y)[:, None]
    learner = SuperLearner(features, labels, classified=False, transform=learned)
    folds = inner_folds(80, None, np.random.default_rng(0))
    x = learner.scalers["features"].scaled(features.tables["features"].values)
    ridge = members.ridge(x, Training(labels, folds, False, 0)).held_out[:, 0]
    means = np.array([y[folds != fold].mean() for fold in folds])
    expected, strength = np.array([0.0, 1.0]), GROUPS_TO_LEAVE  # without groups each region is one
    weights = simplex_weights(np.stack([means, learned.inverse(ridge)], axis=1), y, expected, strength)
    np.testing.assert_allclose(list(learner.weights.values()), weights, atol=1e-6)


@pytest.mark.parametrize("n_groups", [8, None])
def test_weights_stay_nearer_to_equal_ones_the_fewer_groups_there_are(city, n_groups):
    rows = np.arange(N)
    labels = city["signal"][rows][:, None]
    features = Features({"features": Table(city["features"][rows], (5,))}, city["xy"][rows])
    groups = None if n_groups is None else rows * n_groups // N
    weights = SuperLearner(features, labels, classified=False, groups=groups).weights
    of_members = np.array([weight for name, weight in weights.items() if name != "mean"])
    distance = np.abs(of_members - 1 / len(of_members)).sum()
    assert (distance < 0.3) == (n_groups is not None)


def test_held_out_predictions_of_ridge_equal_those_of_a_refit(city):
    rng = np.random.default_rng(0)
    for columns in (3, 40):
        x, y = rng.normal(size=(30, columns)), rng.normal(size=(30, 2))
        folds = np.arange(30) % 3
        held_out = members.ridge(x, Training(y, folds, False, 0)).held_out
        errors = []
        for penalty in members.PENALTIES:
            predicted = np.empty_like(y)
            for fold in range(3):
                model = Ridge(penalty).fit(x[folds != fold], y[folds != fold])
                predicted[folds == fold] = model.predict(x[folds == fold])
            errors.append((np.square(predicted - y).sum(), predicted))
        np.testing.assert_allclose(held_out, min(errors, key=lambda one: one[0])[1], atol=1e-8)


def test_held_out_predictions_of_the_gaussian_process_equal_a_fit_without_the_fold():
    """Against the same kernel, solved without the rows of each fold."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(30, 4)), rng.normal(size=(30, 1))
    folds = np.arange(30) % 3
    held_out = members.gaussian_process(x, Training(y, folds, False, 0), (1, 3), linear=True).held_out
    torch.manual_seed(0)
    head = registry.create("head", Use(name="gp", **members.PROCESS.model_dump() | {"linear": True}), 4, 1)
    head.fit_values(torch.from_numpy(x), torch.from_numpy(y), (1, 3))
    points = head.points
    for fold in range(3):
        rest = np.flatnonzero(folds[head.order.numpy()] != fold)
        head.points = [block[rest] for block in points]
        kernel = head._gram(head.points) + (head.theta["noise"].exp() + 1e-4) * torch.eye(len(rest))
        values = torch.from_numpy(y)[head.order][rest] - y.mean()
        expected = head.predict_with(torch.from_numpy(x[folds == fold]), torch.linalg.solve(kernel, values))
        np.testing.assert_allclose(held_out[folds == fold], expected, atol=1e-8)


def test_regions_beyond_the_points_of_a_process_are_held_out_with_their_fold(monkeypatch):
    """They are predicted without the points of their fold, so those of one fold follow none of its labels."""
    monkeypatch.setattr(members, "PROCESS", members.PROCESS.model_copy(update={"max_points": 20, "steps": 1}))
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(30, 3)), rng.normal(size=(30, 1))
    folds = np.arange(30) % 3
    held_out = members.gaussian_process(x, Training(y, folds, False, 0), (3,), linear=False).held_out
    torch.manual_seed(0)
    head = registry.create("head", Use(name="gp", **members.PROCESS.model_dump()), 3, 1)
    head.fit_values(torch.from_numpy(x), torch.from_numpy(y), (3,))
    order, points = head.order.numpy(), head.points
    mean = y[order].mean()
    for fold in range(3):
        rest = np.flatnonzero(folds[order] != fold)
        head.points = [block[rest] for block in points]
        kernel = head._gram(head.points) + (head.theta["noise"].exp() + 1e-4) * torch.eye(len(rest))
        weights = torch.linalg.solve(kernel, torch.from_numpy(y[order][rest] - mean))
        expected = head.predict_with(torch.from_numpy(x[folds == fold]), weights)
        np.testing.assert_allclose(held_out[folds == fold], expected, atol=1e-8)


def test_boosting_predicts_by_the_mean_of_the_folds_and_holds_out_by_one():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(60, 3)), rng.normal(size=(60, 1))
    folds = np.arange(60) % 2
    fitted = members.boosting(x, Training(y, folds, False, 0))
    settings = members.BOOSTED | {"max_iter": 25, "learning_rate": 0.18, "random_state": 0}
    models = [HistGradientBoostingRegressor(**settings).fit(x[folds != f], y[folds != f, 0]) for f in (0, 1)]
    both = np.stack([model.predict(x) for model in models])
    np.testing.assert_allclose(fitted.held_out[:, 0], both[folds, np.arange(60)])
    np.testing.assert_allclose(fitted.predict(x)[:, 0], both.mean(axis=0))


def test_forest_predicts_by_the_mean_of_the_folds_and_holds_out_by_one():
    rng = np.random.default_rng(0)
    x, y, folds = rng.normal(size=(60, 6)), rng.normal(size=(60, 1)), np.arange(60) % 2
    fitted = members.forest(x, Training(y, folds, False, 3))
    settings = {"n_estimators": members.FOREST_TREES, "min_samples_leaf": 3, "max_features": 2, "random_state": 3}
    models = [RandomForestRegressor(**settings).fit(x[folds != f], y[folds != f, 0]) for f in (0, 1)]
    predicted = [model.predict(x) for model in models]
    np.testing.assert_allclose(fitted.predict(x)[:, 0], np.mean(predicted, axis=0))
    np.testing.assert_allclose(fitted.held_out[:, 0], np.where(folds == 0, *predicted))


def test_boosting_gives_no_share_to_a_class_that_a_fold_lacks():
    x = np.arange(400.0)[:, None]
    classes = np.eye(3)[np.repeat([0, 2], 200)]
    fitted = members.boosting(x, Training(classes, np.arange(400) % 2, True, 0))
    assert (fitted.predict(x)[:, 1] == 0).all()
    np.testing.assert_allclose(fitted.predict(x).sum(axis=1), 1)
    assert fitted.held_out[50, 0] > 0.8 and fitted.held_out[350, 2] > 0.8


def test_boosting_reads_the_columns_that_explain_most():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(200, 6)), rng.integers(0, 3, 200)
    x[:, 4] += 2 * (y == 1)
    x[:, 1] = y + rng.normal(0, 0.2, 200)
    assert members._informative(x, np.eye(3)[y], 2).tolist() == [1, 4]
    assert members._informative(x, (y - y.mean())[:, None], 1).tolist() == [1]


def test_trees_read_quantiles_of_the_training_rows():
    bins = Bins(np.arange(100.0)[:, None] ** 3)
    binned = bins(np.array([[-5.0], [0], [50**3], [2e6]]))[:, 0]
    assert binned.tolist() == [0, 0, BINS // 2, BINS - 1]


def test_predictions_below_zero_are_zero_before_a_logarithm():
    """Boosted trees overshoot in the target's own units; the logarithm of such a value is not defined."""
    learned = TargetTransform.fit("log", np.array([0.0, 1, 2]))
    learner = SuperLearner(
        Features({"features": Table(np.arange(4.0)[:, None], (1,))}),
        learned.transform(np.array([0.0, 1, 2, 9]))[:, None], classified=False, transform=learned,
    )  # fmt: skip
    learner.weights = {"mean": 1.0}
    learner._members["mean"] = learner._members["mean"]._replace(predict=members.constant(np.array([-50.0])))
    assert learned.inverse(learner.predict(Features({"features": Table(np.zeros((1, 1)), (1,))}))) == 0


def test_a_rare_class_that_cannot_be_told_apart_is_predicted_where_it_is_likeliest(city):
    """Its probability is below a half everywhere, so the likeliest class is never the rare one."""
    rows = np.arange(N)
    chance = 1 / (1 + np.exp(2.5 - 1.5 * city["z"][:, 0].numpy()))
    labels = torch.from_numpy((np.random.default_rng(0).uniform(size=N) < 0.6 * chance).astype(np.int64))
    head, outputs = fitted(city, labels, rows, 2)
    likeliest, predicted = head.probabilities(outputs).argmax(dim=1), outputs.argmax(dim=1)
    assert 0 < labels.sum() < N / 4
    assert predicted.sum() > likeliest.sum()
    assert city["z"][predicted == 1, 0].mean() > 0.5


def test_a_class_without_a_label_is_not_predicted_because_its_share_is_small():
    y = np.eye(3)[[0, 0, 0, 1]]
    shares = np.exp(log_shares(y))
    np.testing.assert_allclose(shares, [0.75, 0.25, 0.25])
    probabilities = np.array([[0.5, 0.45, 0.05]])
    assert balanced_logits(probabilities, BALANCE, log_shares(y)).argmax() == 1
    np.testing.assert_array_equal(log_shares(np.eye(3)[[1, 1]]), 0)


def test_a_single_group_counts_as_none(city):
    labels = city["signal"][:40][:, None]
    features = Features({"features": Table(city["features"][:40], (5,))})
    one, none = (
        SuperLearner(features, labels, classified=False, groups=groups).weights for groups in (np.zeros(40, int), None)
    )
    assert one == none


def test_scaler_fills_missing_values_from_training_rows_and_flags_them():
    values = np.array([[1.0, np.nan, 5], [3, 2, 5], [5, 4, 5]])
    scaler = Scaler(Table(values, (1, 2)))
    assert scaler.blocks == (1, 2, 1)
    scaled = scaler.scaled(np.array([[3.0, np.nan, 5], [np.nan, 3, 9]]))
    np.testing.assert_allclose(scaled[0, :3], [0, 0, 0])  # the median of column 1 is 3, also its mean after completing
    np.testing.assert_allclose(scaled[1, 0], 0)
    assert scaled[1, 2] == 4  # a column without variance is shifted alone
    assert scaled[0, 3] > 0 > scaled[1, 3]


def test_region_data_selects_rows_of_all_arrays(city):
    data = RegionData(city["features"], (2, 3), city["xy"], np.arange(N))
    rows = data.rows(np.array([5, 2]))
    assert rows.groups.tolist() == [5, 2]
    np.testing.assert_array_equal(rows.xy, city["xy"][[5, 2]])
    assert replace(data, xy=None).rows(np.array([1])).xy is None
