"""Optimisers with a learning rate of its own for each part of a model."""

from __future__ import annotations

from typing import Literal

import torch
from torch import nn

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
    """Adam or AdamW over the trainable parameters of `parts`, each part at `learning_rates[part]` or `learning_rate`.

    Raises `UserError` for a part that the model does not have; `key` is the recipe's section, for the message.
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
