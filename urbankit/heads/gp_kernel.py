"""The kernel of the head `gp` and its gradient in closed form."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

NEAREST = 1e-12
"""Added to squared distances, so that the root has a gradient at 0."""


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


def matern(theta: Mapping[str, Tensor], squared: Tensor) -> tuple[Tensor, Tensor]:
    """Return the Matérn part of the kernel, [..., n, m], of squared distances by block, [..., blocks, n, m].

    With it, the scaled distances √3 d between the points, [..., n, m].
    """
    r = torch.sqrt(3 * _weighted(torch.exp(-2 * theta["length"]), squared) + NEAREST)
    return torch.exp(theta["signal"])[..., None, None] * (1 + r) * torch.exp(-r), r


def trend(theta: Mapping[str, Tensor], inner: Tensor) -> Tensor:
    """Return the linear terms of the kernel, [..., n, m], of inner products [..., blocks, n, m]."""
    return _weighted(torch.exp(theta["linear"]), inner)


def gradient(
    theta: Mapping[str, Tensor], slope: Tensor, part: tuple[Tensor, Tensor], squared: Tensor, inner: Tensor | None
) -> dict[str, Tensor]:
    """Return the gradient of `(slope * kernel).sum()` in the parameters of the kernel, by their names.

    Args:
        theta: logarithms of the parameters.
        slope: [..., n, n].
        part: what `matern` returns.
        squared: squared distances by block, [..., blocks, n, n].
        inner: inner products by block, [..., blocks, n, n]; None for a kernel without linear terms.
    """
    kernel, r = part
    by_signal = slope * kernel
    # The derivative of s (1 + r) exp(-r) in d² is -3/2 s exp(-r), that of d² in the logarithm of a length -2 d²_b / l².
    by_length = 3 * torch.exp(-2 * theta["length"]) * _by_block(by_signal / (1 + r), squared)
    result = {"signal": by_signal.sum(dim=(-2, -1)), "length": by_length}
    if inner is not None:
        result["linear"] = torch.exp(theta["linear"]) * _by_block(slope, inner)
    return result


def _weighted(weights: Tensor, matrices: Tensor) -> Tensor:
    return torch.einsum("...b,...bij->...ij", weights, matrices)


def _by_block(weights: Tensor, matrices: Tensor) -> Tensor:
    """The sum of weights [..., n, m] times each of the matrices [..., blocks, n, m], [..., blocks]."""
    return (matrices.flatten(-2) @ weights.flatten(-2).unsqueeze(-1)).squeeze(-1)


def _scaled(blocks: Sequence[Tensor], factors: Tensor) -> Tensor:
    """The blocks, each times its factor [..., blocks], side by side."""
    return torch.cat(
        [block * factor[..., None, None] for block, factor in zip(blocks, factors.unbind(-1), strict=True)], dim=-1
    )
