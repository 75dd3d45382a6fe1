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
    """Return whether bfloat16 is faster on the device: on a GPU that has it, or a CPU with AMX tiles.

    On a CPU with AVX-512 bf16 alone casting costs more than it saves: small transformers took 1.9 times as long as in
    float32.
    """
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return bool(torch.cpu._is_amx_tile_supported())


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
