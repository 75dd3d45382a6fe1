"""A Gaussian process that starts from predictions: a level and a slope with Gaussian priors in front of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from urbankit.heads.prior import EXPECTED_VARIANCES, Prior, Start


class Conditioned(NamedTuple):
    """Labels conditioned on a kernel, a level and a slope, of n points and C outputs.

    Attributes:
        coefficients: Posterior means of level and slope beyond what is expected, [C, 2].
        weights: The inverse covariance of the labels times the labels, [n, C].
        gradient: That of the mean negative log likelihood in the variances of level and slope, [2].
        solved: The inverse of the kernel with noise times the basis of level and slope, [C, n, 2].
        middle: The posterior covariance of level and slope, [C, 2, 2].
    """

    coefficients: Tensor
    weights: Tensor
    gradient: Tensor
    solved: Tensor
    middle: Tensor

    def correction(self) -> Tensor:
        """Return what level and slope take from the inverse of the kernel with noise, mean over outputs: [n, n]."""
        outputs, points, _ = self.solved.shape
        turned = (self.solved @ self.middle).transpose(0, 1).reshape(points, -1)
        return turned @ self.solved.transpose(0, 1).reshape(points, -1).T / outputs


class LinearStart:
    """The part `level + slope · p` of a process, p being the columns of a prior (Rasmussen and Williams, 2006, 2.7).

    Attributes:
        residuals: Labels minus what is expected of them, in the unit of `Start`, [n, C].
        log_variances: Initial logarithms of the variances of level and slope.
    """

    def __init__(self, y: Tensor, prior: Prior) -> None:
        """Start from the prior of the n points with labels `y`, float64 [n, C]."""
        labels = y.cpu().numpy()
        self._start = Start.of(labels, prior)
        self.residuals = y.new_tensor(self._start.residuals(labels, prior))
        self._basis = y.new_tensor(self._start.basis(labels, prior))
        self.log_variances = {name: y.new_tensor(median).log() for name, (median, _) in EXPECTED_VARIANCES.items()}
        # The steps are too short to reach the level of a city that is far from all others.
        off = self.residuals.mean(dim=0).square().mean().clamp(min=1e-12).log()
        self.log_variances["level"] = torch.maximum(self.log_variances["level"], off)

    def condition(self, solve: Callable[[Tensor], Tensor], log_variances: Tensor, n: int | None = None) -> Conditioned:
        """Condition the first n points.

        Args:
            solve: Multiplies the inverse of the kernel with noise [n, n] by columns [n, m].
            log_variances: Logarithms of the variances of level and slope, [2].
            n: The number of points; None for all.
        """
        basis, residuals = self._basis[:, :n], self.residuals[:n]
        outputs, points, width = basis.shape
        columns = basis.transpose(0, 1).reshape(points, outputs * width)
        solved = solve(columns).reshape(points, outputs, width).transpose(0, 1)  # [C, n, 2]
        forms = basis.transpose(1, 2) @ solved
        middle = torch.linalg.inv(torch.diag_embed(torch.exp(-log_variances)) + forms)
        coefficients = (middle @ (solved.transpose(1, 2) @ residuals.T[:, :, None]))[:, :, 0]
        weights = solve(residuals) - torch.einsum("cna,ca->nc", solved, coefficients)
        explained = torch.einsum("cna,nc->ca", basis, weights).square()
        gradient = 0.5 * ((forms - forms @ middle @ forms).diagonal(dim1=1, dim2=2) - explained).mean(dim=0)
        return Conditioned(coefficients, weights, gradient, solved, middle)

    def predict(self, process: Tensor, coefficients: Tensor, prior: Prior) -> Tensor:
        """Return predictions [B, C] from those of the process [B, C], by `Conditioned.coefficients`."""
        start, columns = self._start, process.new_tensor(prior.columns)
        linear = coefficients[:, 0] + (start.slope + coefficients[:, 1]) * columns
        return process.new_tensor(start.level) + start.size * (process + linear)
