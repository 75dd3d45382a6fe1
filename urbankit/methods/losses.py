"""Contrastive losses between two sets of vectors whose rows belong together."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def similarity(a: Tensor, b: Tensor, temperature: float) -> Tensor:
    """Cosine similarities of all rows of `a` [B, d] with all rows of `b` [B, d], over the temperature: [B, B]."""
    return F.normalize(a.float(), dim=1) @ F.normalize(b.float(), dim=1).T / temperature


def info_nce(a: Tensor, b: Tensor, temperature: float) -> Tensor:
    """One-way InfoNCE (eq. 25): row i of `a` [B, d] should find row i of `b` [B, d] among all rows of `b`.

    `-1/B Σᵢ log( exp(sim(aᵢ, bᵢ)/τ) / Σⱼ exp(sim(aᵢ, bⱼ)/τ) )`; zero where fewer than two rows are given.
    """
    if len(a) < 2:
        return (a.sum() + b.sum()) * 0.0
    return F.cross_entropy(similarity(a, b, temperature), torch.arange(len(a), device=a.device))


def two_way_info_nce(a: Tensor, b: Tensor, temperature: float, weight: Tensor | None = None) -> Tensor:
    """Two-way InfoNCE (eq. 12 and 13): the sum, not the mean, of both directions.

    `weight` [B] multiplies the terms of each row, which remain negatives of the others; without it all count 1.
    """
    if len(a) < 2:
        return (a.sum() + b.sum()) * 0.0
    logits = similarity(a, b, temperature)
    match = torch.arange(len(a), device=a.device)
    if weight is None:
        return F.cross_entropy(logits, match) + F.cross_entropy(logits.T, match)
    both = F.cross_entropy(logits, match, reduction="none") + F.cross_entropy(logits.T, match, reduction="none")
    return (weight * both).mean()
