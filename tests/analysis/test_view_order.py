import numpy as np
import pytest
import scipy.sparse
from scipy.stats import spearmanr

from urbankit.analysis import view_order as module
from urbankit.analysis.view_order import view_order
from urbankit.views.base import ViewGraph


def points(n: int = 60) -> np.ndarray:
    return np.random.default_rng(3).normal(size=(n, 4)).astype(np.float32)


def cosines(vectors: np.ndarray) -> np.ndarray:
    z = vectors - vectors.mean(axis=0)
    z /= np.linalg.norm(z, axis=1, keepdims=True)
    return z @ z.T


def view(weights: np.ndarray) -> ViewGraph:
    np.fill_diagonal(weights, 0)
    return ViewGraph(scipy.sparse.csr_array(weights), np.ones(len(weights), bool))


def test_the_correlation_over_all_pairs_is_that_of_scipy():
    vectors, weights = points(), np.random.default_rng(1).uniform(0.1, 1, (60, 60))
    upper = np.triu_indices(60, 1)
    order = view_order(vectors, view(weights))
    expected = spearmanr(cosines(vectors)[upper], (weights + weights.T)[upper]).statistic
    assert order.spearman == order.spearman_all == pytest.approx(expected, abs=1e-6)
    assert order.related == 1


def test_a_block_that_is_the_view_orders_its_pairs_perfectly():
    vectors = points()
    assert view_order(vectors, view(np.exp(cosines(vectors)))).spearman == pytest.approx(1, abs=1e-6)


def test_few_related_pairs_are_compared_with_as_many_others():
    vectors = points()
    weights = np.maximum(cosines(vectors) - 0.6, 0)
    order = view_order(vectors, view(weights))
    assert order.related < 0.2
    assert order.spearman_all < 0.7, "most pairs are one tie"
    assert order.spearman > 0.9
    assert view_order(points(60)[::-1].copy(), view(weights)).spearman < 0.3


def test_regions_that_the_view_lacks_do_not_count():
    vectors, weights = points(), np.exp(cosines(points()))
    weights[:10], weights[:, :10] = 0, 0
    vectors[:10] = 100.0
    np.fill_diagonal(weights, 0)
    present = np.arange(60) >= 10
    absent = view_order(vectors, ViewGraph(scipy.sparse.csr_array(weights), present))
    assert absent == view_order(vectors[10:], view(weights[10:, 10:]))


def test_many_regions_are_sampled_to_nearly_the_same_number(monkeypatch):
    vectors, weights = points(200), np.exp(cosines(points(200)))
    everything = view_order(vectors, view(weights + np.random.default_rng(0).uniform(0, 1, weights.shape)))
    monkeypatch.setattr(module, "ALL_PAIRS", 100)
    monkeypatch.setattr(module, "SAMPLE", 8000)
    sampled = view_order(vectors, view(weights + np.random.default_rng(0).uniform(0, 1, weights.shape)))
    assert sampled != everything and sampled.spearman == pytest.approx(everything.spearman, abs=0.05)


@pytest.mark.parametrize("n", [0, 1, 2, 3])
def test_a_view_without_pairs_to_order_has_no_correlation(n):
    order = view_order(points(n), view(np.zeros((n, n))))
    assert np.isnan(order.spearman) and np.isnan(order.spearman_all) and order.related == 0
