"""The nearest regions, against a loop."""

import numpy as np
import pytest

from urbankit.analysis import neighbours
from urbankit.analysis.neighbours import nearest


@pytest.fixture
def vectors() -> np.ndarray:
    return np.random.default_rng(0).normal(3.0, 1.0, (60, 7)).astype(np.float32)


def test_nearest_equals_a_loop_over_all_pairs(vectors: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbours, "_PAIRS", 60 * 7)  # several blocks of rows, the last one shorter
    nearest_rows, similar = nearest(vectors, 5)
    z = vectors.astype(np.float64) - vectors.mean(axis=0)
    for row in range(len(z)):
        cosine = np.array([z[row] @ other / np.linalg.norm(z[row]) / np.linalg.norm(other) for other in z])
        expected = [i for i in np.argsort(-cosine) if i != row][:5]
        assert nearest_rows[row].tolist() == expected
        np.testing.assert_allclose(similar[row], cosine[expected], atol=1e-5)


def test_nearest_does_not_depend_on_the_order_of_regions(vectors: np.ndarray) -> None:
    order = np.random.default_rng(1).permutation(len(vectors))
    neighbours, permuted = nearest(vectors, 4)[0], nearest(vectors[order], 4)[0]
    assert (order[permuted] == neighbours[order]).all()


def test_nearest_accepts_selected_rows_and_returns_at_most_all_other_regions(vectors: np.ndarray) -> None:
    neighbours, similar = nearest(vectors[:4], 10, np.array([2]))
    assert neighbours.shape == similar.shape == (1, 3)
    assert sorted(neighbours[0]) == [0, 1, 3]
    assert nearest(vectors[:1], 3)[0].shape == (1, 0)


def test_equal_embeddings_are_sorted_by_row() -> None:
    vectors = np.array([[1, 0], [0, 1], [1, 0], [1, 0], [1, 0], [0, 1.0]], np.float32)
    neighbours, similar = nearest(vectors, 2)
    assert neighbours.tolist() == [[2, 3], [5, 0], [0, 3], [0, 2], [0, 2], [1, 0]]
    assert similar[0] == pytest.approx([1, 1])


def test_similarity_is_zero_if_all_embeddings_are_equal() -> None:
    neighbours, similar = nearest(np.ones((3, 4), np.float32), 2)
    assert neighbours.tolist() == [[1, 2], [0, 2], [0, 1]]
    assert (similar == 0).all()


def smooth(n: int) -> np.ndarray:
    """Vectors of 24 numbers that follow five hidden ones."""
    rng = np.random.default_rng(0)
    return np.tanh(rng.normal(size=(n, 5)) @ rng.normal(size=(5, 24))).astype(np.float32)


def test_nearest_regions_of_many_are_nearly_all_found_in_similar_groups(monkeypatch):
    vectors = smooth(1500)
    exact, _ = neighbours.nearest(vectors, 8)
    monkeypatch.setattr(neighbours, "MOST_COMPARED", 1000)
    monkeypatch.setattr(neighbours, "CANDIDATES", 300)
    regions, similarity = neighbours.nearest_in_groups(vectors, 8)
    recall = np.mean([len(set(row) & set(other)) / 8 for row, other in zip(regions, exact, strict=True)])
    assert recall > 0.9
    assert not (regions == np.arange(1500)[:, None]).any()
    unit = vectors - vectors.mean(axis=0)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    np.testing.assert_allclose(similarity, (unit[:, None] * unit[regions]).sum(axis=2), atol=1e-5)


def test_groups_of_equal_vectors_still_give_as_many_regions_as_asked(monkeypatch):
    monkeypatch.setattr(neighbours, "MOST_COMPARED", 50)
    monkeypatch.setattr(neighbours, "CANDIDATES", 2)
    regions, _ = neighbours.nearest_in_groups(np.repeat(smooth(3), 30, axis=0), 40)
    assert regions.shape == (90, 40)
    assert all(len(set(row)) == 40 for row in regions)


def test_nearest_regions_of_few_are_exact():
    vectors = smooth(60)
    np.testing.assert_array_equal(neighbours.nearest_in_groups(vectors, 5)[0], neighbours.nearest(vectors, 5)[0])
