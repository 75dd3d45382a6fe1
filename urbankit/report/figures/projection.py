"""Embeddings in two dimensions: t-SNE (paper, figure 6), or UMAP."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE

from urbankit.report.check import NO_UMAP
from urbankit.report.figures.errors import NotPossible
from urbankit.utils.standardise import standardised

MOST_REGIONS = 3000
"""The most regions that are projected; of more, a random sample. t-SNE of this many takes about ten seconds."""

PERPLEXITY = 30.0
NEIGHBOURS = 15


@dataclass(frozen=True)
class Projection:
    """`points` [n, 2] of the regions `rows` [n] out of `total`; `axis` names the dimensions, `how` the procedure."""

    points: NDArray[np.float64]
    rows: NDArray[np.int64]
    total: int
    axis: str
    how: str

    @property
    def sampled(self) -> str:
        """A sentence where not every region is shown."""
        sampled = len(self.rows) < self.total
        return f" {len(self.rows):,} of {self.total:,} regions, drawn at random." if sampled else ""

    def points_of(self, regions: Sequence[int]) -> NDArray[np.float64]:
        """The points [k, 2] of regions that are shown."""
        return self.points[np.searchsorted(self.rows, np.asarray(regions, np.int64))]


def project(
    vectors: NDArray[np.float32], kind: str = "tsne", keep: Sequence[int] = (), most: int = MOST_REGIONS
) -> Projection:
    """Project standardised `vectors` [N, dim] of at most `most` regions, including those in `keep`, to two dimensions.

    Raises `NotPossible` for fewer than four regions, and for `umap` where it is not installed.
    """
    if len(vectors) < 4:
        raise NotPossible(f"a projection needs four regions or more, the city has {len(vectors)}")
    rows = _sample(len(vectors), keep, most)
    z = standardised(vectors[rows], least=1e-9)
    if kind == "umap":
        neighbours = min(NEIGHBOURS, len(rows) - 1)
        return Projection(_umap(z, neighbours), rows, len(vectors), "UMAP", f"UMAP ({neighbours} neighbours)")
    perplexity = min(PERPLEXITY, (len(rows) - 1) / 3)
    return Projection(_tsne(z, perplexity), rows, len(vectors), "t-SNE", f"t-SNE (perplexity {perplexity:.0f})")


def _tsne(z: NDArray[np.float64], perplexity: float) -> NDArray[np.float64]:
    if min(z.shape) > 50:
        z = PCA(50, random_state=0).fit_transform(z)
    init = "pca" if min(z.shape) >= 2 and z.any() else "random"
    points = TSNE(perplexity=perplexity, init=init, random_state=0).fit_transform(z)
    return np.asarray(points, np.float64)


def _umap(z: NDArray[np.float64], neighbours: int) -> NDArray[np.float64]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # warnings of numba and scikit-learn that do not help the user
            from umap import UMAP  # noqa: PLC0415 - optional

            init = "spectral" if len(z) > neighbours + 2 and z.any() else "random"
            points = UMAP(n_neighbors=neighbours, init=init, random_state=0, n_jobs=1).fit_transform(z)
    except ImportError:
        raise NotPossible(NO_UMAP) from None
    return np.asarray(points, np.float64)


def _sample(n: int, keep: Sequence[int], most: int) -> NDArray[np.int64]:
    if n <= most:
        return np.arange(n)
    drawn = np.random.default_rng(0).permutation(n)[:most]
    return np.unique(np.concatenate([np.asarray(keep, np.int64), drawn[: most - len(keep)]]))
