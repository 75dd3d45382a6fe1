"""The kernel parameters of the head `gp` that maximise the marginal likelihood of the training labels."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from urbankit.heads.gp_kernel import JITTER, cholesky

# Initial logarithms of the kernel's parameters, and the mean of their Gaussian prior.
START = {"signal": 0.0, "length": 0.5, "linear": -2.0, "noise": -2.0}
PRIOR_WEIGHT = 0.05
NEAREST = 1e-12
"""Added to squared distances, so that the root has a gradient at 0."""


class Likelihood:
    """The negative log marginal likelihood of labels, as a function of the kernel's parameters.

    The matrices are symmetric. Each pair of points is therefore kept and computed once, [..., pairs].

    Args:
        points: the blocks of the points, float64 [..., n, width] each.
        labels: float64 [..., n, outputs], with mean 0.
        linear: whether the kernel has linear terms.
    """

    def __init__(self, points: Sequence[Tensor], labels: Tensor, linear: bool) -> None:
        n = labels.shape[-2]
        rows, columns = torch.triu_indices(n, n, device=labels.device)
        self.labels, self.n, self.positions = labels, n, rows * n + columns
        self.counts = torch.where(rows == columns, 0.5, 1.0).to(labels)
        """Half of how often a pair occurs in the matrix."""
        self.squared = torch.stack([self._pairs(torch.cdist(block, block).square()) for block in points], dim=-2)
        self.inner = torch.stack([self._pairs(block @ block.mT) for block in points], dim=-2) if linear else None

    def gradient(self, theta: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the gradient in the logarithms of the parameters (Rasmussen and Williams, 2006, equation 5.9).

        Raises:
            RunError: the kernel matrix is not positive definite.
        """
        length, noise = torch.exp(-2 * theta["length"]), torch.exp(theta["noise"])
        r = _weighted(length, self.squared).mul_(3).add_(NEAREST).sqrt_()
        decay = torch.exp(-r).mul_(torch.exp(theta["signal"]).unsqueeze(-1))
        matern = r.add_(1).mul_(decay)
        kernel = matern if self.inner is None else matern + _weighted(torch.exp(theta["linear"]), self.inner)
        inverse = torch.cholesky_inverse(cholesky(self._lower(kernel), noise + JITTER))
        weights = inverse @ self.labels
        slope = inverse.sub_(weights @ weights.mT / self.labels.shape[-1])
        by_pair = self._pairs(slope).mul_(self.counts)
        gradient = {
            "signal": (by_pair * matern).sum(dim=-1),
            "noise": 0.5 * slope.diagonal(dim1=-2, dim2=-1).sum(dim=-1) * noise,
            # The derivative of s (1 + r) exp(-r) in d² is -3/2 s exp(-r), that of d² in log l_b is -2 d²_b / l_b².
            "length": 3 * length * _by_block(decay.mul_(by_pair), self.squared),
        }
        if self.inner is not None:
            gradient["linear"] = torch.exp(theta["linear"]) * _by_block(by_pair, self.inner)
        return gradient

    def _pairs(self, matrix: Tensor) -> Tensor:
        """The upper triangle of [..., n, n], [..., pairs]."""
        return matrix.flatten(-2).index_select(-1, self.positions)

    def _lower(self, pairs: Tensor) -> Tensor:
        """A matrix [..., n, n] with these pairs in its lower triangle and zeros above."""
        matrix = pairs.new_zeros(*pairs.shape[:-1], self.n * self.n)
        return matrix.index_copy_(-1, self.positions, pairs).unflatten(-1, (self.n, self.n)).mT


@torch.no_grad()
def fit_parameters(likelihood: Likelihood, steps: int, learning_rate: float) -> dict[str, Tensor]:
    """Return the logarithms of the parameters after `steps` of Adam on the posterior density of the parameters.

    A lone process has `signal` [], `length` [blocks], `linear` [blocks] and `noise` []; several have their number of
    training sets in front.
    """
    sets, blocks = likelihood.labels.shape[:-2], likelihood.squared.shape[-2]
    theta = {
        name: likelihood.labels.new_full((*sets, blocks) if name in ("length", "linear") else sets, value)
        for name, value in START.items()
    }
    optimizer = torch.optim.Adam(theta.values(), lr=learning_rate)
    for _ in range(steps):
        gradient = likelihood.gradient(theta)
        for name, value in theta.items():
            value.grad = 2 * PRIOR_WEIGHT * (value - START[name]) + gradient.get(name, 0.0)
        optimizer.step()
    return theta


def _weighted(weights: Tensor, pairs: Tensor) -> Tensor:
    """The sum over blocks of [..., blocks, pairs] times weights [..., blocks]."""
    return (weights.unsqueeze(-2) @ pairs).squeeze(-2)


def _by_block(weights: Tensor, pairs: Tensor) -> Tensor:
    """The sum over pairs of [..., blocks, pairs] times weights [..., pairs]."""
    return (pairs @ weights.unsqueeze(-1)).squeeze(-1)
