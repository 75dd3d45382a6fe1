"""What a baseline's parameters name: whether recipe and city have it, and a modality's vectors by region."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from contextlib import nullcontext

import torch
from torch import Tensor

from urbankit.errors import Problem, UserError, closest
from urbankit.modalities.pooling import RegionEncoder


def missing(named: Mapping[str, str], known: Collection[str], kind: str) -> list[tuple[str, str]]:
    """What a recipe lacks of the `kind` (modality, view) that parameters name: (parameter, message) each."""
    return [
        (parameter, f"the recipe has no {kind} '{name}', which this method learns from.{closest(name, known)}")
        for parameter, name in named.items()
        if name not in known
    ]


def require(named: Mapping[str, str], known: Collection[str], kind: str) -> None:
    """Raise `UserError` for each `kind` that parameters name and that recipe and city together do not give."""
    problems = [
        Problem(
            f"the city has no data for the {kind} '{name}', which this method learns from", key=f"method.{parameter}"
        )
        for parameter, name in named.items()
        if name not in known
    ]
    if problems:
        raise UserError(problems)


def autocast(device: torch.device, precision: torch.dtype | None) -> torch.autocast | nullcontext:
    """What encoders compute in: `precision`, or with None that of their weights."""
    return nullcontext() if precision is None else torch.autocast(device.type, dtype=precision)


def encode(
    pool: RegionEncoder, regions: Tensor, precision: torch.dtype | None, *, augment: bool = False
) -> tuple[Tensor, Tensor]:
    """The mean backbone vectors [B, width] in float32 of region indices int64 [B], and who has any (bool [B])."""
    with autocast(regions.device, precision):
        vectors, present = pool.encode(regions, augment=augment)
    return vectors.float(), present
