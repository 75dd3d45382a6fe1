"""The head `kriging`: its formulas against dense Gaussians, and what it makes of few labels."""

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal

from urbankit import registry
from urbankit.heads import averaged_kriging
from urbankit.heads.averaged_kriging import (
    EXPECTED,
    JITTER,
    NOISE,
    RANGE,
    AveragedKriging,
    Points,
    Settings,
    typical_spacing,
)
from urbankit.heads.base import RegionData
from urbankit.heads.prior import STEEPEST, Prior
from urbankit.registry.component import Use


def random(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape)


def matern(a: np.ndarray, b: np.ndarray, length: float) -> np.ndarray:
    r = 3**0.5 * np.sqrt(np.square(a[:, None] - b[None]).sum(axis=2)) / length
    return (1 + r) * np.exp(-r)


def head(outputs: int = 1, dim: int = 4, **params) -> torch.nn.Module:
    torch.manual_seed(0)
    return registry.create("head", Use(name="kriging", **params), dim, outputs)


def smooth_city(n: int, seed: int = 0) -> tuple[torch.Tensor, np.ndarray, np.ndarray]:
    """Embeddings without information, coordinates in metres, and a target that is smooth over the city."""
    generator = np.random.default_rng(seed)
    xy = generator.uniform(0, 10_000, (n, 2))
    target = np.sin(xy[:, 0] / 2000) + np.cos(xy[:, 1] / 2500)
    return torch.as_tensor(generator.normal(size=(n, 4))).float(), xy, target


@pytest.mark.parametrize("has_prior", [False, True])
def test_settings_are_spread_as_the_hyperprior(has_prior):
    settings = Settings.of_prior(has_prior)
    expected = EXPECTED[has_prior] | {"noise": NOISE}
    drawn = {**settings.variances, "level": settings.basis[:, 0]}
    if has_prior:
        drawn["slope"] = settings.basis[:, 1]
    assert drawn.keys() == expected.keys()
    for name, values in drawn.items():
        logs = values.log().numpy()
        assert logs.mean() == pytest.approx(np.log(expected[name][0]), abs=0.1)
        assert logs.std() == pytest.approx(expected[name][1], rel=0.1)
    assert settings.ranges.log().mean() == pytest.approx(np.log(RANGE[has_prior][0]))
    assert np.bincount(settings.range_index).tolist() == [len(settings.range_index) // len(settings.ranges)] * 8


@pytest.mark.parametrize("has_prior", [False, True])
@pytest.mark.parametrize("outputs", [1, 3])
@pytest.mark.parametrize("located", [True, False])
def test_predictions_equal_an_average_of_dense_gaussians(has_prior, outputs, located):
    """Against the joint Gaussian of labels and predictions of every setting, weighted by the density of the labels."""
    n, m = 9, 5
    embedding, xy, y = torch.as_tensor(random(n + m, 5)), 1000 * random(n + m, 2, seed=1), 3 + 2 * random(n, outputs)
    predictions = random(n + m) if outputs == 1 else np.log(np.random.default_rng(0).dirichlet(np.ones(3), n + m))
    prior = Prior.of(predictions, None) if has_prior else None
    points = Points.of(embedding, [2, 3], xy if located else None, 500.0)
    model = AveragedKriging.fit(points[:n], y, prior and prior.rows(np.arange(n)), max_points=100)
    predicted = model.predict(points[n:], prior and prior.rows(np.arange(n, n + m))).numpy()

    z = embedding.numpy() / np.sqrt(2 * np.array([2, 2, 3, 3, 3]))
    size = np.sqrt(np.square(y - y.mean(axis=0)).mean())
    columns = prior.columns if prior else np.zeros((n + m, outputs))
    slope = min(prior.size / size, STEEPEST) if prior else 0.0
    mean = (prior.level if prior else y.mean(axis=0)) + size * slope * columns
    settings = Settings.of_prior(has_prior)
    logs, means = [], []
    for s in range(len(settings.range_index)):
        variance = {name: float(values[s]) for name, values in settings.variances.items()}
        shared = variance["smooth"] * matern(z, z, 1.0) + variance["linear"] * z @ z.T
        if located:
            length = 500.0 * float(settings.ranges[settings.range_index[s]])
            shared = shared + variance["spatial"] * matern(xy, xy, length)
        of_setting, log = np.empty((m, outputs)), 0.0
        for output in range(outputs):
            basis = [np.ones(n + m), *([columns[:, output]] if prior else [])]
            kernel = shared + sum(float(v) * np.outer(b, b) for v, b in zip(settings.basis[s], basis, strict=True))
            noisy = size**2 * (kernel[:n, :n] + (variance["noise"] + JITTER) * np.eye(n))
            log += multivariate_normal(mean[:n, output], noisy).logpdf(y[:, output]) / outputs
            residuals = y[:, output] - mean[:n, output]
            of_setting[:, output] = mean[n:, output] + size**2 * kernel[n:, :n] @ np.linalg.solve(noisy, residuals)
        logs.append(log)
        means.append(of_setting)
    weights = np.exp(np.array(logs) - max(logs))
    expected = np.tensordot(weights / weights.sum(), np.array(means), axes=1)
    np.testing.assert_allclose(predicted, expected, rtol=1e-7, atol=1e-9)


def test_a_smooth_target_is_filled_in_from_neighbours():
    embedding, xy, y = smooth_city(300)
    data, train = RegionData(xy=xy, spacing=typical_spacing(xy)), np.arange(60)
    kriging = head()
    kriging.fit_regions(embedding[:60], torch.as_tensor(y[:60]), [4], data.rows(train))
    predicted = kriging.predict_regions(embedding, data).numpy()[60:, 0]
    assert 1 - np.square(predicted - y[60:]).sum() / np.square(y[60:] - y[60:].mean()).sum() > 0.8


def test_right_predictions_of_other_cities_are_worth_more_than_five_labels():
    embedding, xy, y = smooth_city(200)
    correlations = {}
    for name, prior in {"without": None, "with": Prior.of(3 * y + 10 + 0.5 * random(200), None)}.items():
        data = RegionData(xy=xy, prior=prior)
        kriging = head()
        kriging.fit_regions(embedding[:5], torch.as_tensor(y[:5]), [4], data.rows(np.arange(5)))
        correlations[name] = np.corrcoef(kriging.predict_regions(embedding, data)[5:, 0], y[5:])[0, 1]
    assert correlations["with"] > 0.9 > correlations["without"]


def test_the_order_of_regions_and_the_origin_of_coordinates_do_not_matter():
    embedding, xy, y = smooth_city(80)
    order = np.random.default_rng(1).permutation(80)
    outputs = []
    for rows, shift in ((np.arange(80), 0.0), (order, 5e5)):
        kriging = head()
        data = RegionData(xy=xy[rows] + shift, spacing=1000.0)
        kriging.fit_regions(embedding[rows], torch.as_tensor(y[rows]), [4], data)
        outputs.append(kriging.predict_regions(embedding[rows], data))
    torch.testing.assert_close(outputs[0][order], outputs[1], rtol=1e-8, atol=1e-8)


def test_many_labels_are_conditioned_on_with_the_best_settings_of_some(monkeypatch):
    embedding, xy, y = smooth_city(200)
    data = RegionData(xy=xy, spacing=typical_spacing(xy))
    outputs = []
    for weighed in (256, 64):
        monkeypatch.setattr(averaged_kriging, "WEIGHED", weighed)
        kriging = head()
        kriging.fit_regions(embedding[:150], torch.as_tensor(y[:150]), [4], data.rows(np.arange(150)))
        outputs.append(kriging.predict_regions(embedding, data)[150:, 0].numpy())
    residual = [np.square(predicted - y[150:]).mean() for predicted in outputs]
    assert max(residual) < 0.02 * y.var()
    kriging = head(max_points=70)
    kriging.fit_regions(embedding[:150], torch.as_tensor(y[:150]), [4], data.rows(np.arange(150)))
    assert len(kriging.model.points.z) == 70


@pytest.mark.parametrize("labels", [torch.zeros(4), torch.ones(1), torch.tensor([2, 2, 2])])
def test_labels_without_a_difference_are_predicted(labels):
    embedding, xy, _ = smooth_city(10)
    kriging = head(outputs=1 if labels.is_floating_point() else 3)
    data = RegionData(xy=xy)
    n = len(labels)
    kriging.fit_regions(embedding[:n], labels, [4], data.rows(np.arange(n)))
    predicted = kriging.predict_regions(embedding, data)
    if labels.is_floating_point():
        torch.testing.assert_close(predicted[:, 0], labels[:1].double().expand(10))
    else:
        assert predicted.argmax(dim=1).tolist() == [2] * 10


def test_spacing_is_the_distance_between_neighbours():
    grid = np.stack(np.meshgrid(np.arange(20.0), np.arange(20.0)), axis=2).reshape(-1, 2)
    assert typical_spacing(100 * grid) == pytest.approx(100 * (4 + 2**0.5) / 5)
    assert typical_spacing(np.zeros((1, 2))) == 1.0
    assert typical_spacing(np.zeros((8, 2))) == 1.0
