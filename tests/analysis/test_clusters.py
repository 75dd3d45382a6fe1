"""Ward's hierarchy, against scikit-learn."""

import numpy as np
import pytest
from sklearn.cluster import AgglomerativeClustering
from sklearn.metrics import adjusted_rand_score

from urbankit.analysis.clusters import Hierarchy, following


@pytest.fixture
def vectors() -> np.ndarray:
    rng = np.random.default_rng(0)
    return np.concatenate([rng.normal(centre, 1.0, (size, 5)) for centre, size in ((0, 30), (6, 50), (14, 20))])


@pytest.mark.parametrize("k", [1, 2, 3, 6])
def test_clusters_equal_those_of_scikit_learn(vectors: np.ndarray, k: int) -> None:
    labels = Hierarchy.of(vectors).labels(k)
    assert adjusted_rand_score(labels, AgglomerativeClustering(k).fit_predict(vectors)) == 1
    sizes = np.bincount(labels)
    assert len(sizes) == k
    assert (np.diff(sizes) <= 0).all()


def test_clusters_are_nested(vectors: np.ndarray) -> None:
    hierarchy = Hierarchy.of(vectors)
    for k in range(1, 8):
        inner, outer = hierarchy.labels(k + 1), hierarchy.labels(k)
        assert all(len(set(outer[inner == cluster])) == 1 for cluster in range(k + 1))


def test_cutting_the_tree_at_the_height_gives_the_clusters(vectors: np.ndarray) -> None:
    from scipy.cluster.hierarchy import fcluster

    hierarchy = Hierarchy.of(vectors)
    for k in range(1, 7):
        cut = fcluster(hierarchy.linkage, hierarchy.height(k), "distance")
        assert adjusted_rand_score(cut, hierarchy.labels(k)) == 1


def test_regions_outside_the_sample_join_the_nearest_sampled_region(vectors: np.ndarray) -> None:
    hierarchy = Hierarchy.of(vectors, most=40)
    assert len(hierarchy.linked) == 40
    assert adjusted_rand_score(hierarchy.labels(3), Hierarchy.of(vectors).labels(3)) == 1
    far = np.linalg.norm(vectors[:, None] - vectors[hierarchy.linked], axis=2)
    for k in range(1, 9):
        inner, outer = hierarchy.labels(k + 1), hierarchy.labels(k)
        np.testing.assert_array_equal(inner, inner[hierarchy.linked][far.argmin(axis=1)])
        assert all(len(set(outer[inner == cluster])) == 1 for cluster in range(k + 1))


def test_cluster_keeps_its_number_if_another_is_split(vectors: np.ndarray) -> None:
    before = np.array([0, 0, 0, 0, 0, 1, 1])
    labels = np.array([1, 1, 2, 2, 2, 0, 0])
    np.testing.assert_array_equal(following(before, labels), [2, 2, 0, 0, 0, 1, 1])
    hierarchy = Hierarchy.of(vectors)
    nested = hierarchy.nested([6, 2, 3, 4, 5])
    assert list(nested) == [2, 3, 4, 5, 6]
    for k in range(3, 7):
        moved = nested[k] != nested[k - 1]
        assert set(nested[k][moved]) == {k - 1}  # what was parted, and nothing else, has the new number
        assert adjusted_rand_score(nested[k], hierarchy.labels(k)) == 1
    assert list(Hierarchy.of(np.array([[0.0], [0], [1], [1]], np.float32)).nested([2, 3])) == [2]


def test_few_or_equal_regions_make_few_clusters() -> None:
    assert Hierarchy.of(np.ones((1, 3), np.float32)).labels(3).tolist() == [0]
    assert Hierarchy.of(np.ones((5, 3), np.float32)).labels(3).tolist() == [0] * 5
    two = Hierarchy.of(np.array([[0.0], [0], [0], [1], [1]], np.float32)).labels(4)
    assert two.tolist() == [0, 0, 0, 1, 1]
    with pytest.raises(ValueError, match="0 clusters"):
        Hierarchy.of(np.ones((3, 3), np.float32)).labels(0)
