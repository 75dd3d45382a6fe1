"""Pre-training that is cut and goes on, beside one that is not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch

from urbankit.methods.base import Method
from urbankit.recipe.training_schema import Pretrain
from urbankit.training.pretrain import pretrain
from urbankit.utils.progress import Progress


def assert_going_on_changes_nothing(make: Callable[[], Method], n: int, folder: Path) -> None:
    """A method over `n` regions, new each time, ends in the same state whether its training is cut or not."""

    def trained(epochs: int, where: Path) -> dict[str, torch.Tensor]:
        method = make()
        settings = Pretrain(epochs=epochs, batch_size=n, patience=0, validation_share=0)
        pretrain(method, settings, n, 0, where, Progress())
        return method.state_dict()

    whole = trained(4, folder / "whole")
    trained(2, folder / "cut")
    for name, value in trained(4, folder / "cut").items():
        assert torch.equal(value, whole[name]), name
