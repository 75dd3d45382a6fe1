"""Random variants of images: flips, quarter turns, and crops that are stretched back to full size."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

Style = Literal["overhead", "street", "none"]


def augment(images: Tensor, style: Style, generator: torch.Generator, smallest: float = 0.6) -> Tensor:
    """Return random variants of images, drawn from `generator` only.

    `overhead` flips both ways, turns square images by quarters, and crops; `street` flips left to right and crops. A
    crop keeps `smallest` to 1 of both sides. Pixels are picked, not interpolated, so that uint8 stays uint8 and missing
    pixels (NaN) do not spread.

    Args:
        images: Tensor[n, bands, h, w] of any type, on the CPU.

    Returns:
        Tensor[n, bands, h, w] of the same type.
    """
    if style == "none" or not len(images):
        return images
    n, bands, h, w = images.shape
    draw = torch.rand(6, n, generator=generator)
    side = smallest + (1 - smallest) * draw[0]
    rows = _crop(h, side, draw[1], flip=(draw[2] < 0.5) if style == "overhead" else None)
    columns = _crop(w, side, draw[3], flip=draw[4] < 0.5)
    flat = (rows[:, :, None] * w + columns[:, None, :]).flatten(1)
    if style == "overhead" and h == w:
        turned = (rows[:, None, :] * w + columns[:, :, None]).flatten(1)
        flat = torch.where((draw[5] < 0.5)[:, None], turned, flat)
    pixels = images.flatten(2)
    return pixels.gather(2, flat[:, None].expand(-1, bands, -1)).view(n, bands, h, w)


def _crop(size: int, side: Tensor, offset: Tensor, flip: Tensor | None) -> Tensor:
    """Return the input pixel of each output pixel along one axis, int64 Tensor[n, size]."""
    length = side * size
    first = offset * (size - length)
    at = (torch.arange(size) + 0.5) / size
    if flip is not None:
        at = torch.where(flip[:, None], 1 - at, at)
    return (first[:, None] + at * length[:, None]).long().clamp(0, size - 1)
