"""Bayesian ridge regression whose variances are averaged over a grid, for few labels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from urbankit.heads.prior import EXPECTED_VARIANCES, Prior, Start

Array = NDArray[np.float64]

FUNCTION = np.geomspace(1e-3, 10.0, 10)
"""Variances of what the features explain, in units of the variance of the labels, as the other grids."""
NOISE = np.geomspace(0.02, 2.0, 9)
"""Variances of the rest."""
SLOPE = np.geomspace(1 / 256, 1.0, 5)
"""Variances of the slope on the prior."""
LEVEL = np.geomspace(1e-2, 1e4, 7)
"""Variances of the level of the labels about that of the prior."""
OWN_LEVEL = 1.0
"""Variance of the level about the mean of the labels, without a prior."""
EXPECTED = {"function": (0.05, 1.5), "noise": (0.5, 1.0), **EXPECTED_VARIANCES}
"""Median and standard deviation of the logarithm of each variance before any label: a lognormal hyperprior."""


@dataclass(frozen=True)
class AveragedRidge:
    """A fitted regression; its predictions are linear in the features and in the columns of the prior.

    Labels y of an output, in units of their standard deviation (of all outputs together), are modelled as

        y = level + slope · p + ⟨w, x⟩ + noise,

    with p the column of the prior, level ~ N(l₀, l) and slope ~ N(s₀, s) about what `Start` expects, w ~ N(0, f I) over
    the root of the number of features, and noise ~ N(0, v). Given f, v, l and s the posterior is in closed form
    (Rasmussen and Williams, 2006, section 2.7). Coefficients are averaged over the grids of these variances, by
    marginal likelihood and hyperprior; outputs share the weights. Without a prior there is no slope, and l₀ is the mean
    of the labels.

    Attributes:
        coefficients: Of the features, [features, outputs].
        slopes: Of the prior, [outputs]; None without one.
        levels: [outputs].
    """

    coefficients: Array
    slopes: Array | None
    levels: Array

    @classmethod
    def fit(cls, x: Array, y: Array, prior: Prior | None) -> AveragedRidge:
        """Fit to n labels.

        Args:
            x: Features, centred and scaled, [n, features]; there may be none.
            y: The labels, [n, outputs].
            prior: The prior of the same regions and outputs; None for none.
        """
        start = Start.of(y, prior)
        width = max(x.shape[1], 1)
        left, singular, right = np.linalg.svd(x / np.sqrt(width), full_matrices=False)
        data = np.concatenate([start.residuals(y, prior).T[:, :, None], start.basis(y, prior)], axis=2)
        rotated = left.T @ data  # [outputs, rank, 2 or 3]
        variances, log_density = _hyperprior(prior is not None)
        deviations, logs = _posterior(data, rotated, singular, variances)
        logs += log_density
        weight = np.exp(logs - logs.max())
        weight /= weight.sum()
        # Sums over the grid of f times precision times what level and slope leave.
        precision = FUNCTION[:, None, None] * _precision(singular)
        along = np.einsum("fvs,fvr->r", weight, precision) * rotated[:, :, 0]
        moved = np.einsum("fvs,fvscb->fvcb", weight, deviations)
        along -= np.einsum("fvcb,fvr,crb->cr", moved, precision, rotated[:, :, 1:], optimize=True)
        average = moved.sum(axis=(0, 1))
        return cls(
            coefficients=start.size * (right.T @ (singular[:, None] * along.T)) / np.sqrt(width),
            slopes=None if prior is None else start.size * (start.slope + average[:, 1]),
            levels=start.level + start.size * average[:, 0],
        )

    def predict(self, x: Array, prior: Prior | None) -> Array:
        """Return predictions [m, outputs] for features [m, features] and the prior of the same regions."""
        linear = x @ self.coefficients + self.levels
        return linear if prior is None or self.slopes is None else linear + prior.columns * self.slopes


def _precision(singular: Array) -> Array:
    """The precision of labels along each singular vector, by variances of function and noise, [f, v, rank]."""
    return 1 / (FUNCTION[:, None, None] * np.square(singular) + NOISE[:, None])


def _posterior(data: Array, rotated: Array, singular: Array, variances: Array) -> tuple[Array, Array]:
    """Posterior deviations of level and slope from what is expected, and log marginal likelihoods.

    Args:
        data: Labels minus their expected value, 1 and the prior, by output: [outputs, n, 2 or 3].
        rotated: The same along the singular vectors, [outputs, rank, 2 or 3].
        singular: The singular values of the features, [rank].
        variances: Variances of level and slope, [s, 1 or 2].

    Returns:
        The deviations [f, v, s, outputs, 1 or 2], and the mean over outputs of the log likelihoods, [f, v, s].
    """
    precision = _precision(singular)
    products = np.einsum("cra,crb->rcab", rotated, rotated)
    outside = np.einsum("cna,cnb->cab", data, data) - products.sum(axis=0)
    forms = np.einsum("fvr,rcab->fvcab", precision, products) + outside / NOISE[:, None, None, None]
    log_determinant = (data.shape[1] - len(singular)) * np.log(NOISE) - np.log(precision).sum(axis=2)
    forms, projected = forms[:, :, None], forms[:, :, None, :, 1:, 0]  # an axis for the variances of the slope
    inverse = forms[..., 1:, 1:] + np.stack([np.diag(1 / pair) for pair in variances])[:, None]
    deviations = np.linalg.solve(inverse, projected[..., None])[..., 0]
    explained = (projected * deviations).sum(axis=-1)
    penalties = np.linalg.slogdet(inverse)[1] + np.log(variances).sum(axis=1)[:, None]
    likelihoods = -0.5 * (forms[..., 0, 0] - explained + penalties + log_determinant[:, :, None, None])
    return deviations, likelihoods.mean(axis=3)


def _hyperprior(has_prior: bool) -> tuple[Array, Array]:
    """The variances of level and slope on the grid, [s, 1 or 2], and the log density of all, [f, v, s]."""
    grids = {"function": FUNCTION, "noise": NOISE, "level": LEVEL, "slope": SLOPE}
    function, noise, level, slope = (
        -0.5 * np.square(np.log(grid / EXPECTED[name][0]) / EXPECTED[name][1]) for name, grid in grids.items()
    )
    of_pair = function[:, None, None] + noise[:, None]
    if not has_prior:
        return np.array([[OWN_LEVEL]]), of_pair
    variances = np.stack(np.meshgrid(LEVEL, SLOPE, indexing="ij"), axis=2).reshape(-1, 2)
    return variances, of_pair + (level[:, None] + slope).reshape(-1)
