"""A Gaussian process on n points through m inducing points, in time n m² and memory n m."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

POINTS_AT_ONCE = 4096
JITTER = 1e-6
"""Added to the kernel of the inducing points, as a share of its mean diagonal."""


class Inducing:
    """The covariance Q + Λ of n labels (FITC; Quiñonero-Candela and Rasmussen, 2005; Snelson and Ghahramani, 2006).

    Q = K_nm K_mm⁻¹ K_mn, and Λ is the diagonal of K_nn - Q plus the noise: away from the inducing points a label says
    less, and predictions return to the mean.
    """

    def __init__(self, gram: Callable[[slice], Tensor], inducing: Tensor, diagonal: Tensor, noise: Tensor) -> None:
        """Factor the covariance.

        Args:
            gram: returns the kernel [..., m, k] between inducing points and a slice of the points.
            inducing: the kernel of the inducing points, [..., m, m].
            diagonal: the kernel of each point with itself, [..., n].
            noise: the variance of the noise, [...].

        Raises:
            torch.linalg.LinAlgError: the kernel of the inducing points is not positive definite.
        """
        m, n = inducing.shape[-1], diagonal.shape[-1]
        middle = torch.eye(m).to(inducing)
        added = JITTER * inducing.diagonal(dim1=-2, dim2=-1).mean(dim=-1)[..., None, None]
        self._factor = torch.linalg.cholesky(inducing + added * middle)
        self._features = inducing.new_empty((*inducing.shape[:-1], n))  # L⁻¹ K_mn, so that their inner products are Q
        self._variance = noise[..., None].expand(diagonal.shape).clone()
        for start in range(0, n, POINTS_AT_ONCE):
            chunk = slice(start, start + POINTS_AT_ONCE)
            features = torch.linalg.solve_triangular(self._factor, gram(chunk), upper=False)
            self._features[..., chunk] = features
            self._variance[..., chunk] += (diagonal[..., chunk] - features.square().sum(dim=-2)).clamp(min=0)
            middle = middle + (features / self._variance[..., None, chunk]) @ features.mT
        self._middle = torch.linalg.cholesky(middle)

    def solve(self, columns: Tensor) -> Tensor:
        """Return the inverse of the covariance times `columns` [..., n, k]."""
        scaled = columns / self._variance[..., None]
        inner = torch.cholesky_solve(self._features @ scaled, self._middle)
        return scaled - (self._features.mT @ inner) / self._variance[..., None]

    def project(self, weights: Tensor) -> Tensor:
        """Return weights of the inducing points, [..., m, k], that predict as `weights` [..., n, k] of points do."""
        return torch.linalg.solve_triangular(self._factor.mT, self._features @ weights, upper=True)
