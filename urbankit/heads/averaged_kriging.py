"""Kriging whose variances are averaged over their posterior, for few labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from scipy.stats import norm, qmc
from torch import Tensor

from urbankit.heads.prior import EXPECTED_VARIANCES, Prior, Start

SETTINGS = 128
"""Number of settings of the variances and the range; a power of 2, as Sobol points are balanced for these."""
RANGES = 8
"""Number of ranges among the settings."""
RANGE = {False: (3.3, 0.9), True: (2.0, 0.7)}
"""Median of the range, in units of the distance between neighbouring regions, and standard deviation of its logarithm.

Without and with a prior, as the next.
"""
EXPECTED = {
    False: {"level": (0.1, 1.0), "spatial": (0.33, 1.0), "smooth": (0.33, 1.0), "linear": (0.37, 1.0)},
    True: {**EXPECTED_VARIANCES, "spatial": (0.33, 1.0), "smooth": (0.14, 1.0), "linear": (0.007, 2.5)},
}
"""Median and standard deviation of the logarithm of each variance before any label, in units of that of the labels."""
NOISE = (0.5, 0.6)
"""The same of the variance of the noise."""

WEIGHED = 256
"""Number of labels, drawn at random, that the settings are weighed by."""
MOST_SETTINGS = 8
"""Number of settings, the best ones, that all labels are conditioned on if there are more of them."""
JITTER = 1e-6
ROWS_AT_ONCE = 2048


@dataclass(frozen=True)
class Points:
    """Where the processes are evaluated.

    Attributes:
        z: Embeddings, float64 [n, dim]; each block has mean square distance 2 divided by the number of blocks.
        xy: Coordinates in units of the distance between neighbouring regions, float64 [n, 2]; None for none.
    """

    z: Tensor
    xy: Tensor | None

    @classmethod
    def of(cls, embedding: Tensor, blocks: Sequence[int], xy: NDArray[np.float64] | None, spacing: float) -> Points:
        """Scale standardised embeddings [n, dim] by block, and coordinates [n, 2] in metres by `spacing`."""
        widths = torch.tensor(list(blocks)).double()
        scale = torch.repeat_interleave((widths * len(widths)).rsqrt(), widths.long())
        z = embedding.double().cpu() * scale
        return cls(z, None if xy is None else torch.as_tensor(xy / spacing).double())

    def __getitem__(self, rows: slice | Tensor) -> Points:
        return Points(self.z[rows], None if self.xy is None else self.xy[rows])


@dataclass(frozen=True)
class Settings:
    """S settings of the variances, and of the range.

    Attributes:
        variances: By name, [S]: `noise`, `spatial`, `smooth`, `linear`.
        basis: The variances of the level and, with a prior, of the slope, [S, 1 or 2].
        ranges: The ranges, [RANGES].
        range_index: The range of each setting, int64 [S].
    """

    variances: Mapping[str, Tensor]
    basis: Tensor
    ranges: Tensor
    range_index: Tensor

    @classmethod
    def of_prior(cls, has_prior: bool) -> Settings:
        """Settings that are spread as the hyperprior is, at Sobol points; always the same."""
        expected = EXPECTED[has_prior] | {"noise": NOISE}
        points = qmc.Sobol(len(expected) + 1, seed=0).random(SETTINGS).clip(1e-6, 1 - 1e-6)
        normal = torch.as_tensor(norm.ppf(points)).T
        drawn = {
            name: torch.exp(np.log(median) + deviation * column)
            for (name, (median, deviation)), column in zip(expected.items(), normal, strict=False)
        }
        median, deviation = RANGE[has_prior]
        quantiles = norm.ppf((np.arange(RANGES) + 0.5) / RANGES)
        ranges = torch.as_tensor(median * np.exp(deviation * quantiles))
        names = ["level", "slope"] if has_prior else ["level"]
        basis = torch.stack([drawn.pop(name) for name in names], dim=1)
        return cls(drawn, basis, ranges, torch.as_tensor((points[:, -1] * RANGES).astype(np.int64)))

    def __getitem__(self, chosen: Tensor) -> Settings:
        variances = {name: values[chosen] for name, values in self.variances.items()}
        return Settings(variances, self.basis[chosen], self.ranges, self.range_index[chosen])

    def kernel_weights(self, spatial: bool) -> Tensor:
        """The weight of each correlation of `correlations` in the covariance of each setting, [S, kernels]."""
        weights = torch.stack([self.variances["smooth"], self.variances["linear"]], dim=1)
        if not spatial:
            return weights
        by_range = torch.nn.functional.one_hot(self.range_index, len(self.ranges)) * self.variances["spatial"][:, None]
        return torch.cat([weights, by_range], dim=1)

    def correlations(self, a: Points, b: Points) -> Tensor:
        """The correlations of points [n] with points [m], [kernels, n, m]: smooth, linear, and spatial by range."""
        kernels = [_matern(torch.cdist(a.z, b.z)), a.z @ b.z.T]
        if a.xy is not None and b.xy is not None:
            distance = torch.cdist(a.xy, b.xy)
            kernels += [_matern(distance / length) for length in self.ranges]
        return torch.stack(kernels)


@dataclass(frozen=True)
class AveragedKriging:
    """A fitted model; see `fit`.

    Attributes:
        start: What is expected of labels.
        points: The n conditioned labels' points.
        settings: The settings that were averaged over.
        weights: Of each correlation with each point, [kernels, n, outputs].
        coefficients: Level and slope beyond what is expected, [outputs, 1 or 2].
    """

    start: Start
    points: Points
    settings: Settings
    weights: Tensor
    coefficients: Tensor

    @classmethod
    def fit(cls, points: Points, y: NDArray[np.float64], prior: Prior | None, max_points: int) -> AveragedKriging:
        """Fit to n labels.

        Labels of an output, in units of their standard deviation (of all outputs together), are modelled as

            y = level + slope · p + f(xy) + g(z) + noise,

        with p the column of the prior; f and g are Gaussian processes with Matérn₃⸝₂ covariances of the coordinates and
        of the embedding, and g has a linear part as well. This is kriging with an external drift
        (Wackernagel, 2003, chapter 37). Variances and the range of f are not estimated: predictions are averaged over
        settings drawn from their hyperprior, weighted by the marginal likelihood of the labels (Handcock and Stein,
        1993). Outputs share the weights.

        Args:
            points: Those of the labels.
            y: The labels, [n, outputs].
            prior: The prior of the same regions and outputs; None for none.
            max_points: Number of labels, drawn at random, that predictions are conditioned on.
        """
        start = Start.of(y, prior)
        residuals, basis = torch.as_tensor(start.residuals(y, prior)), torch.as_tensor(start.basis(y, prior))
        order = torch.randperm(len(y))
        settings = Settings.of_prior(prior is not None)
        few = order[:WEIGHED]
        conditioned = _condition(settings, points[few], residuals[few], basis[:, few])
        weight = torch.softmax(conditioned.log_likelihood, dim=0)
        if len(y) > WEIGHED:
            weight, chosen = torch.topk(weight, MOST_SETTINGS)
            settings, weight, few = settings[chosen], weight / weight.sum(), order[:max_points]
            conditioned = _condition(settings, points[few], residuals[few], basis[:, few])
        kernel_weights = settings.kernel_weights(points.xy is not None) * weight[:, None]
        return cls(
            start,
            points[few],
            settings,
            torch.einsum("sk,snc->knc", kernel_weights, conditioned.weights),
            torch.einsum("s,scb->cb", weight, conditioned.coefficients),
        )

    def predict(self, points: Points, prior: Prior | None) -> Tensor:
        """Return predictions [m, outputs] for points [m] and the prior of the same regions."""
        starts = range(0, len(points.z), ROWS_AT_ONCE)
        process = torch.cat([self._process(points[start : start + ROWS_AT_ONCE]) for start in starts])
        linear = self.coefficients[:, 0].expand_as(process)
        if prior is not None:
            linear = linear + (self.start.slope + self.coefficients[:, 1]) * torch.as_tensor(prior.columns)
        return torch.as_tensor(self.start.level) + self.start.size * (process + linear)

    def _process(self, points: Points) -> Tensor:
        return torch.einsum("kmn,knc->mc", self.settings.correlations(points, self.points), self.weights)


@dataclass(frozen=True)
class _Conditioned:
    """Labels [n, C] conditioned on S settings: weights [S, n, C], coefficients [S, C, 1 or 2], log likelihoods [S]."""

    weights: Tensor
    coefficients: Tensor
    log_likelihood: Tensor


def _condition(settings: Settings, points: Points, residuals: Tensor, basis: Tensor) -> _Conditioned:
    """Condition labels on each setting; level and slope have Gaussian priors (Rasmussen and Williams, 2006, 2.7).

    Args:
        settings: S settings.
        points: Those of the labels, [n].
        residuals: Labels minus what is expected of them, [n, C].
        basis: What level and slope multiply, by output: [C, n, b].
    """
    correlations, (n, outputs) = settings.correlations(points, points), residuals.shape
    kernel_weights = settings.kernel_weights(points.xy is not None)
    columns = torch.cat([residuals, basis.transpose(0, 1).reshape(n, -1)], dim=1)  # those of 1 are equal by output
    weights, coefficients, logs = [], [], []
    for setting in range(len(kernel_weights)):
        covariance = torch.einsum("k,knm->nm", kernel_weights[setting], correlations)
        covariance.diagonal().add_(settings.variances["noise"][setting] + JITTER)
        factor = torch.linalg.cholesky(covariance)
        solved = torch.cholesky_solve(columns, factor)
        of_residuals, of_basis = solved[:, :outputs], solved[:, outputs:].reshape(n, outputs, -1).transpose(0, 1)
        forms = basis.transpose(1, 2) @ of_basis
        precision = forms + torch.diag(1 / settings.basis[setting])
        projected = basis.transpose(1, 2) @ of_residuals.T[:, :, None]  # [C, b, 1]
        moved = torch.linalg.solve(precision, projected)
        weights.append(of_residuals - (of_basis @ moved)[:, :, 0].T)
        coefficients.append(moved[:, :, 0])
        explained = (residuals * of_residuals).sum(dim=0) - (projected * moved).sum(dim=(1, 2))
        determinant = torch.linalg.slogdet(precision)[1] + settings.basis[setting].log().sum()
        logs.append(-0.5 * (explained + determinant).mean() - factor.diagonal().log().sum())
    return _Conditioned(torch.stack(weights), torch.stack(coefficients), torch.stack(logs))


def typical_spacing(xy: NDArray[np.float64]) -> float:
    """Return the distance between neighbouring regions: the median over regions of the mean to the five nearest.

    Args:
        xy: Centres in metres, [n, 2].
    """
    neighbours = min(6, len(xy))
    distances = cKDTree(xy).query(xy, k=neighbours)[0].reshape(len(xy), neighbours)[:, 1:]
    spacing = float(np.median(distances.mean(axis=1))) if neighbours > 1 else 0.0
    return spacing or float(xy.std()) or 1.0


def _matern(distance: Tensor) -> Tensor:
    """The Matérn₃⸝₂ correlation at distances in units of the range."""
    scaled = 3**0.5 * distance
    return (1 + scaled) * torch.exp(-scaled)
