"""Clusters of regions by Ward's hierarchy over their embeddings (paper, 4.4.2 and figure 8)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import pdist
from sklearn.metrics import pairwise_distances_argmin

from urbankit.utils.standardise import centred

MOST_LINKED = 4000
"""Regions that are linked; the linkage takes memory and time by their square (64 MB, about 1 s)."""


@dataclass(frozen=True)
class Hierarchy:
    """Ward's agglomerative hierarchy over embeddings, each dimension centred.

    `linkage` [M - 1, 4] is scipy's, over the regions `linked` [M]: all of them, or of a city of more than `MOST_LINKED`
    a sample, drawn at random from a fixed seed. Regions outside the sample are with the nearest region in it.
    """

    vectors: NDArray[np.float32]
    linked: NDArray[np.int64]
    linkage: NDArray[np.float64]
    _labels: dict[int, NDArray[np.int64]] = field(default_factory=dict, repr=False)

    @classmethod
    def of(cls, vectors: NDArray[np.float32], most: int = MOST_LINKED) -> Hierarchy:
        """The hierarchy over `vectors` [N, dim]; fewer than two regions have an empty linkage."""
        z = centred(vectors)
        linked = np.arange(len(z))
        if len(z) > most:
            linked = np.sort(np.random.default_rng(0).choice(len(z), most, replace=False))
        tree = linkage(pdist(z[linked].astype(np.float64)), "ward") if len(z) > 1 else np.empty((0, 4))
        return cls(z, linked, tree)

    def labels(self, k: int) -> NDArray[np.int64]:
        """The cluster of every region [N], 0 to at most k - 1, from the largest to the smallest of the linked regions.

        Clusters of one `k` lie within those of a smaller one. Regions with equal embeddings are never parted, so that
        there may be fewer clusters than `k`.
        """
        if k not in self._labels:
            self._labels[k] = self._cut(k)
        return self._labels[k]

    def nested(self, numbers: Iterable[int]) -> dict[int, NDArray[np.int64]]:
        """`labels` for each of the `numbers` of clusters, in which a cluster keeps its number where another is split.

        Of a cluster that is split the part with most regions keeps the number. Numbers of clusters that the regions do
        not allow are left out.
        """
        result: dict[int, NDArray[np.int64]] = {}
        for k in sorted(numbers):
            labels = self.labels(k)
            if labels.max() + 1 == k:
                result[k] = following(list(result.values())[-1], labels) if result else labels
        return result

    def height(self, k: int) -> float:
        """Where the dendrogram is cut for `k` clusters: halfway between the merges to k and to k - 1 clusters."""
        heights = np.concatenate([[0.0], self.linkage[:, 2]])
        k = int(np.clip(k, 1, len(heights)))
        low = heights[len(heights) - k]
        high = heights[len(heights) - k + 1] if k > 1 else low * 1.1
        return float((low + high) / 2)

    def _cut(self, k: int) -> NDArray[np.int64]:
        if k < 1:
            raise ValueError(f"{k} clusters; there is one at least")
        if not len(self.linkage):
            return np.zeros(len(self.vectors), np.int64)
        clusters = fcluster(self.linkage, k, "maxclust")
        names, first, of = np.unique(clusters, return_index=True, return_inverse=True)
        size = np.bincount(of)
        rank = np.empty(len(names), np.int64)
        rank[np.lexsort((first, -size))] = np.arange(len(names))
        of = rank[of]
        if len(self.linked) == len(self.vectors):
            return of
        return of[self._nearest_linked]

    @cached_property
    def _nearest_linked(self) -> NDArray[np.int64]:
        """For every region [N] the place in `linked` of the region in it that is nearest in embedding space."""
        nearest = pairwise_distances_argmin(self.vectors, self.vectors[self.linked])
        nearest[self.linked] = np.arange(len(self.linked))  # a region of the sample is with itself, also among equals
        return np.asarray(nearest, np.int64)


def centroids(vectors: NDArray[np.float32], labels: NDArray[np.int64]) -> NDArray[np.float64]:
    """The mean [k, dim] of the `vectors` [N, dim] of each of the clusters 0 to k - 1 in `labels` [N]."""
    k = int(labels.max()) + 1
    sums = np.stack([np.bincount(labels, weights=column, minlength=k) for column in vectors.T], axis=1)
    return sums / np.bincount(labels, minlength=k)[:, None]


def following(before: NDArray[np.int64], labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """`labels` [N], numbered so that each cluster of `before` hands its number to the one it has most regions with."""
    shared = np.zeros((before.max() + 1, labels.max() + 1))
    np.add.at(shared, (before, labels), 1)
    old, new = linear_sum_assignment(-shared)
    number = np.full(shared.shape[1], -1)
    number[new] = old
    free = np.setdiff1d(np.arange(shared.shape[1]), number)
    number[number < 0] = free
    return number[labels]
