import numpy as np
import pytest
import scipy.sparse

from urbankit.graph.view_ranks import view_ranks


def test_ranks_of_a_dense_view_go_from_0_to_1_in_both_directions():
    weights = np.array([[0, 1, 5], [3, 0, 9], [5, 9, 0]], float)
    ranks, without, share = view_ranks(scipy.sparse.csr_array(weights), 3)
    assert share == 1 and without == 0
    np.testing.assert_allclose(ranks.toarray(), np.array([[0, 1.5, 3.5], [1.5, 0, 5.5], [3.5, 5.5, 0]]) / 6)


def test_pairs_with_an_edge_have_the_upper_half_however_few_they_are():
    weights = np.zeros((10, 10))
    weights[0, 1], weights[2, 3], weights[4, 4] = 1, 2, 7
    ranks, without, share = view_ranks(scipy.sparse.csr_array(weights), 10)
    assert share == pytest.approx(4 / 90) and without == 0.25
    assert ranks.data.tolist() == pytest.approx([0.6875, 0.6875, 0.9375, 0.9375])
