"""Held-out retrieval: hits against a plain computation, ties, chance, and cities apart."""

import numpy as np
import pytest

from urbankit.evaluation.retrieval import FEWEST_REGIONS, retrieve

ONE_CITY = np.zeros(100, dtype=np.int64)


def drawn(seed: int, n: int = 100) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, 8))


def test_hits_are_those_of_a_plain_ranking():
    a, b = drawn(0), drawn(0) + 0.8 * drawn(1)
    cosine = np.array([[x @ y / np.linalg.norm(x) / np.linalg.norm(y) for y in b] for x in a])
    ranked = np.argsort(-cosine, axis=1)
    result = retrieve(a, b, ONE_CITY)
    assert result.k == 10 and result.chance == pytest.approx(0.1)
    assert np.array_equal(result.hits, [float(i in row[:10]) for i, row in enumerate(ranked)])


@pytest.mark.parametrize("a", [np.ones((100, 8)), np.zeros((100, 8))])
def test_a_block_that_is_the_same_for_all_regions_has_the_recall_of_chance(a):
    assert retrieve(a, drawn(1), ONE_CITY).hits.mean() == pytest.approx(0.1, abs=0.03)
    assert np.allclose(retrieve(drawn(1), a, ONE_CITY).hits, 0.1)


def test_vectors_that_are_not_numbers_find_nothing():
    assert not retrieve(np.full((100, 8), np.nan), drawn(1), ONE_CITY).hits.any()


def test_telling_cities_apart_is_no_merit():
    city = np.repeat(np.arange(4), 25)
    of_city = np.eye(4)[city]
    result = retrieve(of_city, of_city, city)
    assert result.k == 2 and result.chance == pytest.approx(2 / 25)
    assert np.allclose(result.hits, result.chance)


def test_too_few_regions_are_not_measured():
    n = FEWEST_REGIONS - 1
    assert retrieve(drawn(0, n), drawn(1, n), ONE_CITY[:n]) is None


def test_the_error_is_that_of_the_difference_to_the_larger_reference():
    good, none = retrieve(drawn(0), drawn(0), ONE_CITY), retrieve(drawn(0), drawn(3), ONE_CITY)
    assert good.beside(good) == (1, 1, pytest.approx(0.1), 0, 10, 100)
    recall, before, chance, error, *_ = none.beside(good)
    assert before == 1 and chance == pytest.approx(0.1)
    assert error == pytest.approx(np.std(none.hits - 1, ddof=1) / 10) and recall < 0.3
