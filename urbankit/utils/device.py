"""Where a training computes, and in which precision."""

from __future__ import annotations

from typing import Literal

import torch

from urbankit.utils.errors import UserError


def pick_device(device: Literal["auto", "cpu", "cuda"]) -> torch.device:
    """The device a recipe's `device` asks for. Raises `UserError` for `cuda` where there is none."""
    if device == "cuda" and not torch.cuda.is_available():
        raise UserError("device: cuda was asked for, but torch finds no CUDA device. Use device: auto or cpu.")
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(device)


def has_bf16(device: torch.device) -> bool:
    """Whether bfloat16 is faster on the device: a GPU that has it, or a processor with AMX tiles.

    A processor with AVX-512 bf16 alone computes in it too, but casting costs more than it saves: small transformers
    took 1.9 times as long as in float32.
    """
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return bool(torch.cpu._is_amx_tile_supported())


def encoder_precision(device: torch.device, precision: Literal["auto", "fp32", "bf16"]) -> torch.dtype | None:
    """What encoders compute in under autocast; None is the precision of their weights.

    Graph layers and losses always compute in float32.
    """
    if precision == "fp32" or (precision == "auto" and not has_bf16(device)):
        return None
    return torch.bfloat16
