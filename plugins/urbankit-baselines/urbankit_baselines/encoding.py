"""Vectors of a modality by region, in the precision of the run; those of a frozen encoder are cached."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from urbankit.modalities.pooling import RegionEncoder
from urbankit.utils.device import autocast


def encode(
    pool: RegionEncoder, regions: Tensor, precision: torch.dtype | None, *, augment: bool = False
) -> tuple[Tensor, Tensor]:
    """Return mean backbone vectors, float32 [B, width], of regions int64 [B], and which have any (bool [B])."""
    with autocast(regions.device, precision):
        vectors, present = pool.encode(regions, augment=augment)
    return vectors.float(), present


def cache_frozen(pools: Iterable[RegionEncoder], precision: torch.dtype | None) -> None:
    """Compute and cache the backbone vectors of all regions for encoders with a frozen backbone."""
    for pool in pools:
        if pool.encoder.frozen:
            pool.keep(precision=precision)
