"""Optimisers with a learning rate for each part of a model, and the schedules of these rates."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR

from urbankit.utils.errors import Problem, UserError, suggest


def build_optimizer(
    parts: dict[str, list[nn.Parameter]],
    *,
    optimizer: Literal["adamw", "adam"],
    learning_rate: float,
    learning_rates: dict[str, float],
    weight_decay: float,
    key: str,
) -> torch.optim.Optimizer:
    """Return Adam or AdamW over the trainable parameters of a model.

    Args:
        parts: the parameters by part.
        optimizer: `adamw` or `adam`.
        learning_rate: of every part that has no rate in `learning_rates`.
        learning_rates: rates by part.
        weight_decay: of every part.
        key: section of the recipe, for messages.

    Raises:
        UserError: `learning_rates` names a part that the model does not have, or every part is frozen.
    """
    unknown = [name for name in learning_rates if name not in parts]
    if unknown:
        raise UserError(
            Problem(f"the method has no part '{name}'.{suggest(name, parts)}", key=f"{key}.learning_rates.{name}")
            for name in unknown
        )
    groups = []
    for name, parameters in parts.items():
        trainable = [p for p in parameters if p.requires_grad]
        if trainable:
            groups.append({"params": trainable, "lr": learning_rates.get(name, learning_rate), "name": name})
    if not groups:
        raise UserError(Problem("nothing is left to train: every part is frozen", key=key))
    kind = {"adamw": torch.optim.AdamW, "adam": torch.optim.Adam}[optimizer]
    return kind(groups, lr=learning_rate, weight_decay=weight_decay, fused=True)


def build_scheduler(
    optimizer: torch.optim.Optimizer, schedule: Literal["constant", "cosine"], epochs: int, epoch: int
) -> LambdaLR:
    """Return the schedule of the learning rates over `epochs`, at the given `epoch` (from 0).

    `cosine` rises linearly over the first tenth of the epochs and then falls along half a cosine to zero.
    """

    def factor(epoch: int) -> float:
        if schedule == "constant":
            return 1.0
        warmup = max(1, epochs // 10)
        if epoch < warmup:
            return (epoch + 1) / warmup
        return 0.5 * (1 + math.cos(math.pi * (epoch + 1 - warmup) / max(1, epochs - warmup)))

    for group in optimizer.param_groups:
        group.setdefault("initial_lr", group["lr"])
    return LambdaLR(optimizer, factor, last_epoch=epoch - 1)
