"""Random graphs that the tests of this folder share."""

import numpy as np
import scipy.sparse
import torch

from urbankit.graph.graph import Graph


def random_adjacency(n: int, density: float, seed: int = 0, *, isolated: int = 0) -> scipy.sparse.csr_array:
    """Directed, positive weights, some self-loops; the last `isolated` nodes have no edges."""
    rng = np.random.default_rng(seed)
    dense = rng.uniform(0.1, 2, (n, n)) * (rng.uniform(size=(n, n)) < density)
    dense[n - isolated :] = 0
    dense[:, n - isolated :] = 0
    return scipy.sparse.csr_array(dense.astype(np.float32))


def random_graph(n: int, density: float, seed: int = 0, *, isolated: int = 0) -> Graph:
    return Graph.from_scipy(random_adjacency(n, density, seed, isolated=isolated))


def star(n: int) -> Graph:
    """A hub with an edge to and from every other node, and two nodes without an edge."""
    spokes = np.arange(1, n - 2)
    rows, columns = np.concatenate([spokes * 0, spokes]), np.concatenate([spokes, spokes * 0])
    return Graph.from_scipy(scipy.sparse.csr_array((np.ones(len(rows)), (rows, columns)), shape=(n, n)))


def features(n: int, d: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed))
