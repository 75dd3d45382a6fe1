"""Contrastive losses between two sets of vectors whose rows belong together."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def similarity(a: Tensor, b: Tensor, temperature: float | Tensor) -> Tensor:
    """Return the cosine similarities [N, N] of all rows of `a` [N, d] with all rows of `b` [N, d], over τ."""
    return F.normalize(a.float(), dim=1) @ F.normalize(b.float(), dim=1).T / temperature


def info_nce(a: Tensor, b: Tensor, temperature: float) -> Tensor:
    """Return the one-way InfoNCE (eq. 25), by which row i of `a` is matched with row i of `b` among all rows of `b`.

    `L = -1/N Σᵢ log( exp(sim(aᵢ, bᵢ)/τ) / Σⱼ exp(sim(aᵢ, bⱼ)/τ) )` with the cosine similarity `sim`.

    Args:
        a: vectors [N, d].
        b: vectors [N, d].
        temperature: τ.

    Returns:
        A scalar; zero for fewer than two rows.
    """
    if len(a) < 2:
        return (a.sum() + b.sum()) * 0.0
    return F.cross_entropy(similarity(a, b, temperature), torch.arange(len(a), device=a.device))


def two_way_info_nce(a: Tensor, b: Tensor, temperature: float | Tensor, weight: Tensor | None = None) -> Tensor:
    """Return the two-way InfoNCE (eq. 12 and 13): the sum, not the mean, of both directions.

    `L = -1/N (Σᵢ log( exp(sim(aᵢ, bᵢ)/τ) / Σⱼ exp(sim(aᵢ, bⱼ)/τ) )
    + Σᵢ log( exp(sim(bᵢ, aᵢ)/τ) / Σⱼ exp(sim(bᵢ, aⱼ)/τ) ))`

    Args:
        a: vectors [N, d].
        b: vectors [N, d].
        temperature: τ.
        weight: multiplies the two terms of each row i, [N]; the row stays a negative of the others. None for 1.

    Returns:
        A scalar; zero for fewer than two rows.
    """
    if len(a) < 2:
        return (a.sum() + b.sum()) * 0.0
    logits = similarity(a, b, temperature)
    match = torch.arange(len(a), device=a.device)
    if weight is None:
        return F.cross_entropy(logits, match) + F.cross_entropy(logits.T, match)
    both = F.cross_entropy(logits, match, reduction="none") + F.cross_entropy(logits.T, match, reduction="none")
    return (weight * both).mean()
