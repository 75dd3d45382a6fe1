"""The device and the precision of a training."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Literal

import torch

from urbankit.utils.errors import UserError


def pick_device(device: Literal["auto", "cpu", "cuda"]) -> torch.device:
    """Return the device of a recipe's `device`. Raises `UserError` for `cuda` without a CUDA device."""
    if device == "cuda" and not torch.cuda.is_available():
        raise UserError("device is cuda, but torch finds no CUDA device. Use device: auto or cpu.")
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(device)


def has_bf16(device: torch.device) -> bool:
    """Return whether encoders compute in bfloat16 unless told otherwise: on a GPU that has it.

    On processors they do not, so that a recipe gives the same numbers on all of them. bfloat16 is faster only on those
    with AMX tiles. With AVX-512 bf16 alone small transformers took 1.9 times as long as in float32.
    """
    return device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)


def encoder_precision(device: torch.device, precision: Literal["auto", "fp32", "bf16"]) -> torch.dtype | None:
    """Return the autocast dtype of encoders; None if they compute in the dtype of their weights.

    Graph layers and losses always compute in float32.
    """
    if precision == "fp32" or (precision == "auto" and not has_bf16(device)):
        return None
    return torch.bfloat16


def autocast(device: torch.device, precision: torch.dtype | None) -> torch.autocast | nullcontext:
    """Return the context in which encoders compute with `precision`; None keeps the dtype of their weights."""
    return nullcontext() if precision is None else torch.autocast(device.type, dtype=precision)
