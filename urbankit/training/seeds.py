"""Seeds of the epochs, by which a resumed training draws the same random numbers."""

from __future__ import annotations

import hashlib

import torch


def epoch_seed(seed: int, stage: str, epoch: int) -> int:
    """Return a seed that depends on the three arguments and on nothing else."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{stage}/{epoch}".encode()).digest()[:8], "little") >> 1


def reseed(seed: int) -> None:
    """Seed torch's generators; faster than `torch.manual_seed`, which takes 0.2 ms to note each absent device."""
    torch.default_generator.manual_seed(seed)
    if torch.cuda.is_initialized():
        torch.cuda.manual_seed_all(seed)
