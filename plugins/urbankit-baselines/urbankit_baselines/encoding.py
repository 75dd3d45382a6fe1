"""A modality's vectors by region, in the precision of the run, computed once where the encoder is frozen."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import nullcontext

import torch
from torch import Tensor

from urbankit.modalities.pooling import RegionEncoder


def encode(
    pool: RegionEncoder, regions: Tensor, precision: torch.dtype | None, *, augment: bool = False
) -> tuple[Tensor, Tensor]:
    """The mean backbone vectors [B, width] in float32 of region indices int64 [B], and who has any (bool [B])."""
    with autocast(regions.device, precision):
        vectors, present = pool.encode(regions, augment=augment)
    return vectors.float(), present


def keep_frozen(pools: Iterable[RegionEncoder], precision: torch.dtype | None) -> None:
    """Compute the backbone vectors of all regions, once, of the encoders whose backbone is frozen."""
    for pool in pools:
        if pool.encoder.frozen:
            pool.keep(precision=precision)


def autocast(device: torch.device, precision: torch.dtype | None) -> torch.autocast | nullcontext:
    """What encoders compute in: `precision`, or with None that of their weights."""
    return nullcontext() if precision is None else torch.autocast(device.type, dtype=precision)
