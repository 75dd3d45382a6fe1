"""Heads that start from predictions of a model of other cities: their formulas, and what the predictions are worth."""

import itertools
import math

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from scipy.stats import multivariate_normal

from urbankit import registry
from urbankit.evaluation.transforms import TargetTransform
from urbankit.heads import averaged_ridge
from urbankit.heads.averaged_ridge import EXPECTED, FUNCTION, LEVEL, NOISE, SLOPE, AveragedRidge
from urbankit.heads.base import RegionData
from urbankit.heads.prior import STEEPEST, Prior
from urbankit.heads.stacking import members
from urbankit.heads.stacking.weights import simplex_weights
from urbankit.registry.component import Use

N = 300
HEADS = ["gp", "kriging", "ridge", "stack"]


@pytest.fixture(autouse=True)
def fewer_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(members, "FOREST_TREES", 5)
    monkeypatch.setattr(members, "PROCESS", members.PROCESS.model_copy(update={"steps": 5}))


def random(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape)


def test_a_prior_is_standardised_over_the_city_in_the_learned_form():
    predictions = np.array([1.0, 10.0, 100.0, 1000.0])
    transform = TargetTransform.fit("log", np.array([5.0, 50.0]))
    prior = Prior.of(predictions, transform)
    np.testing.assert_allclose(prior.level + prior.size * prior.columns[:, 0], transform.transform(predictions))
    assert prior.columns.mean() == pytest.approx(0)
    assert np.square(prior.columns).mean() == pytest.approx(1)
    np.testing.assert_array_equal(prior.rows(np.array([2, 0])).columns, prior.columns[[2, 0]])


def test_a_prior_of_classes_is_of_probabilities_and_one_that_is_constant_is_zero():
    probabilities = np.array([[0.2, 0.8], [0.6, 0.4]])
    prior = Prior.of(np.log(probabilities), None)
    np.testing.assert_allclose(prior.level, [0.4, 0.6])
    np.testing.assert_allclose(prior.columns, [[-1, 1], [1, -1]])
    constant = Prior.of(np.full(5, 13.7), None)
    np.testing.assert_array_equal(constant.columns, 0)
    assert constant.size == 0
    assert constant.level == 13.7


@pytest.mark.parametrize("with_prior", [True, False])
def test_averaged_ridge_equals_an_average_of_dense_gaussians(with_prior, monkeypatch):
    """Against the joint Gaussian of labels and predictions at every point of the grid, with its log density."""
    small = {"FUNCTION": FUNCTION[::4], "NOISE": NOISE[::4], "SLOPE": SLOPE[::2], "LEVEL": LEVEL[::3]}
    for name, grid in small.items():
        monkeypatch.setattr(averaged_ridge, name, grid)
    n, m = 7, 4
    x, y = random(n + m, 9), 3 + 2 * random(n, 1, seed=1)
    prior = Prior.of(4 + random(n + m, seed=2), None)
    train, test = np.arange(n), np.arange(n, n + m)
    model = AveragedRidge.fit(x[train], y, prior.rows(train) if with_prior else None)
    predicted = model.predict(x[test], prior.rows(test) if with_prior else None)

    size, p = y.std(), prior.columns[:, 0]
    start = min(prior.size / size, STEEPEST)
    mean = (prior.level + size * start * p) if with_prior else np.full(n + m, y.mean())
    grids = [small["FUNCTION"], small["NOISE"], small["LEVEL"] if with_prior else [1.0]]
    grids.append(small["SLOPE"] if with_prior else [0.0])
    names = ["function", "noise", *(["level", "slope"] if with_prior else [])]
    logs, means = [], []
    for point in itertools.product(*grids):
        f, v, level, slope = point
        covariance = size**2 * (f * x @ x.T / 9 + level + slope * np.outer(p, p))
        noisy = covariance[:n, :n] + size**2 * v * np.eye(n)
        logs.append(multivariate_normal(mean[:n], noisy).logpdf(y[:, 0]))
        logs[-1] -= sum(
            ((math.log(value) - math.log(EXPECTED[name][0])) / EXPECTED[name][1]) ** 2 / 2
            for name, value in zip(names, point, strict=False)
        )
        means.append(mean[n:] + covariance[n:, :n] @ np.linalg.solve(noisy, y[:, 0] - mean[:n]))
    weights = np.exp(np.array(logs) - max(logs))
    np.testing.assert_allclose(predicted[:, 0], weights @ np.array(means) / weights.sum(), rtol=1e-8)


def r2(head: str, labels: int, informative: bool, with_prior: bool, seed: int, off: float = 0.0) -> float:
    """Of a target that is half the predictions of another city and half the embedding, on regions without a label."""
    z, p = random(N, 6, seed=seed), random(N, seed=seed + 100)
    y = 0.9 * p + 0.3 * z[:, 0] + 0.3 * random(N, seed=seed + 200) if informative else z[:, 0] + 0.5 * z[:, 3]
    y = y + 0.1 * random(N, seed=seed + 300)
    rows = np.random.default_rng(seed).permutation(N)[:labels]
    others = np.setdiff1d(np.arange(N), rows)
    transform = TargetTransform.fit("standard", y[rows])
    prior = Prior.of(0.8 * p + off, transform) if with_prior else None
    data = RegionData(transform=transform, prior=prior)
    torch.manual_seed(seed)
    fitted = registry.create("head", Use(name=head), 6, 1)
    embedding, learned = torch.from_numpy(z).float(), torch.from_numpy(transform.transform(y)).float()
    fitted.fit_regions(embedding[rows], learned[rows], [6], data.rows(rows))
    predicted = transform.inverse(fitted.predict_regions(embedding, data)[:, 0].double().numpy())
    return 1 - np.square(y - predicted)[others].sum() / np.square(y - y[others].mean())[others].sum()


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("labels, off", [(5, 0.0), (10, 0.0), (10, 30.0)])
def test_few_labels_correct_good_predictions_and_not_their_level(head, labels, off):
    with_prior, without = (
        np.mean([r2(head, labels, True, start, seed, off) for seed in range(4)]) for start in (True, False)
    )
    assert with_prior > 0.6
    assert with_prior > without + 0.3


@pytest.mark.parametrize("head", HEADS)
def test_predictions_that_say_nothing_do_no_harm_with_many_labels(head):
    with_prior, without = (np.mean([r2(head, 120, False, start, seed) for seed in range(3)]) for start in (True, False))
    assert without > 0.8
    assert with_prior > without - 0.02


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("classes", [0, 3])
@pytest.mark.parametrize("labels", [1, 2, 6])
def test_any_number_of_labels_gives_finite_outputs(head, classes, labels):
    z = torch.from_numpy(random(20, 4)).float()
    y = torch.arange(20) % classes if classes else torch.from_numpy(random(20, seed=3)).float()
    predictions = np.log(np.random.default_rng(0).dirichlet(np.ones(3), 20)) if classes else random(20, seed=4)
    data = RegionData(prior=Prior.of(predictions, None))
    fitted = registry.create("head", Use(name=head), 4, max(classes, 1))
    fitted.fit_regions(z[:labels], y[:labels], [4], data.rows(np.arange(labels)))
    outputs = fitted.predict_regions(z, data)
    assert outputs.shape == (20, max(classes, 1))
    assert torch.isfinite(outputs).all()


@pytest.mark.parametrize("head", ["gp", "kriging", "ridge"])
def test_the_order_of_the_regions_changes_no_prediction(head):
    z, y, predictions = random(40, 5), random(40, seed=1), random(40, seed=2)
    outputs = []
    for order in (np.arange(40), np.random.default_rng(0).permutation(40)):
        data = RegionData(prior=Prior.of(predictions[order], None))
        fitted = registry.create("head", Use(name=head), 5, 1)
        embedding, labels = torch.from_numpy(z[order]).double(), torch.from_numpy(y[order]).double()
        rows = np.flatnonzero(order < 15)
        fitted.fit_regions(embedding[rows], labels[rows], [3, 2], data.rows(rows))
        outputs.append(fitted.predict_regions(embedding, data)[np.argsort(order)])
    torch.testing.assert_close(*outputs, atol=1e-6, rtol=0)


@pytest.mark.parametrize("strength", [1.0, 30.0])
def test_weights_with_an_expectation_equal_those_of_an_independent_solver(strength):
    truth = random(40)
    predictions = truth[:, None] * np.random.default_rng(1).uniform(0, 1, 4) + 0.7 * random(40, 4, seed=2)
    expected = np.array([0.5, 0, 0.5, 0])
    best = np.square(predictions - truth[:, None]).mean(axis=0).min()

    def error(w: np.ndarray) -> float:
        return np.square(predictions @ w - truth).sum() + strength * best * np.square(w - expected).sum()

    sum_of_one = {"type": "eq", "fun": lambda w: w.sum() - 1}
    solved = minimize(error, expected, bounds=[(0, None)] * 4, constraints=sum_of_one, method="SLSQP", tol=1e-12)
    np.testing.assert_allclose(simplex_weights(predictions, truth, expected, strength), solved.x, atol=1e-4)
    np.testing.assert_allclose(simplex_weights(predictions, truth, expected, 1e9), expected, atol=1e-4)


def test_the_stack_joins_models_that_start_from_the_prior():
    z, y = random(60, 4), random(60, seed=1)
    data = RegionData(features=random(60, 3, seed=2), blocks=(3,), prior=Prior.of(y + 0.5 * random(60, seed=3), None))
    fitted = registry.create("head", Use(name="stack"), 4, 1)
    rows = np.arange(12)
    labels = torch.from_numpy(y).float()
    fitted.fit_regions(torch.from_numpy(z).float()[rows], labels[rows], [4], data.rows(rows))
    weights = fitted.member_weights()
    of_prior = {name: weight for name, weight in weights.items() if name.startswith("prior")}
    assert set(of_prior) == {"prior", "prior and embedding", "prior and features"}
    assert sum(of_prior.values()) > 0.2
