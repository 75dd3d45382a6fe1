"""Joining the vectors of several modalities, or of several views, into one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from urbankit.fusion.base import Fusion


def join_vectors(
    fusion: Fusion, names: Sequence[str], vectors: Mapping[str, Tensor], present: Mapping[str, Tensor]
) -> Tensor:
    """Return the vectors of `names`, [B, dims[i]] each, joined by `fusion`; `present` (bool [B]) are their regions."""
    return fusion([vectors[name] for name in names], [present[name] for name in names])


def any_present(names: Sequence[str], present: Mapping[str, Tensor]) -> Tensor:
    """Return which regions, bool [B], have any of `names`."""
    return torch.stack([present[name] for name in names]).any(dim=0)
