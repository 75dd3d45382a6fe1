"""Ward's hierarchy, against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.cluster import AgglomerativeClustering
from sklearn.metrics import adjusted_rand_score

from urbankit.analysis.clusters import Hierarchy, centroids


@pytest.fixture
def vectors() -> np.ndarray:
    rng = np.random.default_rng(0)
    return np.concatenate([rng.normal(centre, 1.0, (size, 5)) for centre, size in ((0, 30), (6, 50), (14, 20))])


@pytest.mark.parametrize("k", [1, 2, 3, 6])
def test_clusters_are_those_of_scikit_learn(vectors: np.ndarray, k: int) -> None:
    labels = Hierarchy.of(vectors).labels(k)
    assert adjusted_rand_score(labels, AgglomerativeClustering(k).fit_predict(vectors)) == 1
    sizes = np.bincount(labels)
    assert len(sizes) == k
    assert (np.diff(sizes) <= 0).all()


def test_clusters_lie_within_those_of_a_smaller_number(vectors: np.ndarray) -> None:
    hierarchy = Hierarchy.of(vectors)
    for k in range(1, 8):
        inner, outer = hierarchy.labels(k + 1), hierarchy.labels(k)
        assert all(len(set(outer[inner == cluster])) == 1 for cluster in range(k + 1))


def test_a_cut_at_the_height_gives_the_clusters(vectors: np.ndarray) -> None:
    from scipy.cluster.hierarchy import fcluster

    hierarchy = Hierarchy.of(vectors)
    for k in range(1, 7):
        cut = fcluster(hierarchy.linkage, hierarchy.height(k), "distance")
        assert adjusted_rand_score(cut, hierarchy.labels(k)) == 1


def test_regions_outside_the_sample_join_the_nearest_centroid(vectors: np.ndarray) -> None:
    hierarchy = Hierarchy.of(vectors, most=40)
    assert len(hierarchy.linked) == 40
    assert adjusted_rand_score(hierarchy.labels(3), Hierarchy.of(vectors).labels(3)) == 1
    for place, cluster in enumerate(hierarchy.labels(3)):
        means = centroids(hierarchy.vectors[hierarchy.linked], hierarchy.labels(3)[hierarchy.linked])
        expected = np.linalg.norm(means - hierarchy.vectors[place], axis=1).argmin()
        assert place in hierarchy.linked or cluster == expected


def test_few_or_equal_regions_make_few_clusters() -> None:
    assert Hierarchy.of(np.ones((1, 3), np.float32)).labels(3).tolist() == [0]
    assert Hierarchy.of(np.ones((5, 3), np.float32)).labels(3).tolist() == [0] * 5
    two = Hierarchy.of(np.array([[0.0], [0], [0], [1], [1]], np.float32)).labels(4)
    assert two.tolist() == [0, 0, 0, 1, 1]
    with pytest.raises(ValueError, match="0 clusters"):
        Hierarchy.of(np.ones((3, 3), np.float32)).labels(0)
