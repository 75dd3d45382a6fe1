from types import SimpleNamespace

import numpy as np
import scipy.sparse

from urbankit.analysis.anchors import Relations, embedding_similarity, find_anchors


def make_city(n: int = 40) -> SimpleNamespace:
    """Regions on a line whose function alternates; the regions 1 and 38 are tied by flows."""
    xy = np.column_stack([1000.0 * np.arange(n), np.zeros(n)])
    counts = scipy.sparse.csr_array(np.where(np.arange(n)[:, None] % 2 == [0, 1], 10.0, 0.0))
    flows = scipy.sparse.lil_array((n, n))
    flows[np.arange(n), (np.arange(n) + 1) % n] = 1.0
    flows[1, n - 2] = 50.0
    return SimpleNamespace(
        n_regions=n, has_geometry=True,
        xy=xy, region_ids=[f"r{i}" for i in range(n)], poi_counts=lambda: (counts, ["a", "b"]),
        flows=flows.tocsr,
    )  # fmt: skip


def test_anchors_a_and_b_are_near_and_differ_a_and_c_are_far_and_similar_b_and_c_share_flows() -> None:
    city = make_city()
    a, b, c = find_anchors(city)
    relations = Relations.of(city, np.array([a, b, c]))
    assert relations.distance_km[0, 1] < 5 and relations.distance_km[0, 2] > 20
    assert relations.poi[0, 1] == 0 and relations.poi[0, 2] == 1
    assert relations.flow[1, 2] == 50
    assert find_anchors(city) == [a, b, c]


def test_anchors_need_three_regions_but_neither_counts_nor_flows() -> None:
    bare = make_city()
    bare.poi_counts = bare.flows = lambda: None
    a, b, c = find_anchors(bare)
    assert abs(a - b) < abs(a - c)
    small = make_city(4)
    small.n_regions = 2
    assert find_anchors(small) == []


def test_requested_anchors_keep_their_order() -> None:
    assert find_anchors(make_city(), ["r7", "r0", "r9"]) == [7, 0, 9]


def test_similarity_is_the_cosine_about_the_mean() -> None:
    vectors = np.array([[1.0, 0], [-1, 0], [0, 1], [0, -1]], np.float32)
    np.testing.assert_allclose(embedding_similarity(vectors, [0, 1, 2])[0], [1, -1, 0], atol=1e-6)
