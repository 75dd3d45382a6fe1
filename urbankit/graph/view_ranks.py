"""The ranks of the weights of a view, by which its pairs of regions are compared with anything else."""

from __future__ import annotations

import numpy as np
import scipy.sparse
from scipy.stats import rankdata


def symmetric(adjacency: scipy.sparse.csr_array) -> scipy.sparse.csr_array:
    """Return the mean of both directions of each pair, float32 CSR [N, N], without the diagonal."""
    both = scipy.sparse.csr_array((adjacency + adjacency.T) / 2, dtype=np.float32)
    both.setdiag(0)
    both.eliminate_zeros()
    both.sort_indices()
    return both


def view_ranks(adjacency: scipy.sparse.csr_array, n_present: int) -> tuple[scipy.sparse.csr_array, float, float]:
    """Return the ranks of a view's pairs as a matrix, the rank of a pair without an edge, and its share.

    Ranks go from 0 to 1. Pairs with an edge have at least the upper half of them, however few they are.

    Args:
        adjacency: the view [N, N].
        n_present: the number of regions that the view has; the pairs are those of these.

    Returns:
        The ranks, float CSR [N, N], the rank of a pair without an edge, and the share of the pairs that have an edge.
    """
    both = symmetric(adjacency)
    share = both.nnz / max(n_present * (n_present - 1), 1)
    upper = max(share, 0.5)
    order = rankdata(both.data) / max(both.nnz, 1)
    ranks = scipy.sparse.csr_array((1 - upper + upper * order, both.indices, both.indptr), shape=both.shape)
    return ranks, (1 - upper) / 2, share
