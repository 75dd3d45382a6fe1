"""The kernel of the head `gp`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from urbankit.utils.errors import RunError

JITTER = 1e-4
NOT_DEFINITE = "head gp: the kernel matrix is not positive definite; lower learning_rate or take head mlp"


def gram(theta: Mapping[str, Tensor], a: Sequence[Tensor], b: Sequence[Tensor], linear: bool) -> Tensor:
    """Return the kernel [..., n, m] between points whose blocks are `a` [..., n, width] and `b` [..., m, width].

    Distances are those of all blocks at once, each divided by its length scale.
    """
    length = torch.exp(-theta["length"])
    r = torch.cdist(_scaled(a, length), _scaled(b, length)).mul_(3**0.5)
    kernel = torch.exp(-r).mul_(r.add_(1)).mul_(torch.exp(theta["signal"])[..., None, None])
    if linear:
        root = torch.exp(theta["linear"] / 2)
        kernel += _scaled(a, root) @ _scaled(b, root).mT
    return kernel


def diagonal(theta: Mapping[str, Tensor], a: Sequence[Tensor], linear: bool) -> Tensor:
    """Return the kernel of each point with itself, [..., n]."""
    result = torch.exp(theta["signal"])[..., None].expand(a[0].shape[:-1]).clone()
    if linear:
        for block, variance in zip(a, torch.exp(theta["linear"]).unbind(-1), strict=True):
            result += variance[..., None] * block.square().sum(dim=-1)
    return result


def cholesky(kernel: Tensor, noise: Tensor) -> Tensor:
    """Return the lower Cholesky factor of `kernel` [..., n, n] with `noise` [...] added to its diagonal.

    Only the lower triangle is read. The kernel is changed.

    Raises:
        RunError: the matrix is not positive definite.
    """
    kernel.diagonal(dim1=-2, dim2=-1).add_(noise.unsqueeze(-1))
    factor, failed = torch.linalg.cholesky_ex(kernel)
    if failed.any():
        raise RunError(NOT_DEFINITE)
    return factor


def _scaled(blocks: Sequence[Tensor], factors: Tensor) -> Tensor:
    """The blocks, each times its factor [..., blocks], side by side."""
    return torch.cat(
        [block * factor[..., None, None] for block, factor in zip(blocks, factors.unbind(-1), strict=True)], dim=-1
    )
