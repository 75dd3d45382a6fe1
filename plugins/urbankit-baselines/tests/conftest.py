"""Fixtures of urbankit; its synthetic city of 49 regions has the data of every baseline."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from urbankit.methods.base import Method
from urbankit.recipe.training_schema import Pretrain
from urbankit.testing.fixtures import demo_city as tiny_city
from urbankit.testing.fixtures import private_cache, session_cache
from urbankit.training.pretrain import pretrain
from urbankit.utils.progress import Progress

__all__ = ["private_cache", "session_cache", "tiny_city"]


@pytest.fixture
def assert_resume_is_exact(tmp_path: Path) -> Callable[[Callable[[], Method], int], None]:
    """Return a check that interrupted training of a method over `n` regions ends in the same state."""

    def trained(make: Callable[[], Method], n: int, epochs: int, folder: Path) -> dict[str, torch.Tensor]:
        method = make()
        settings = Pretrain(epochs=epochs, batch_size=n, patience=0, validation_share=0)
        pretrain(method, settings, n, 0, folder, Progress())
        return method.state_dict()

    def check(make: Callable[[], Method], n: int) -> None:
        uninterrupted = trained(make, n, 4, tmp_path / "uninterrupted")
        trained(make, n, 2, tmp_path / "interrupted")
        for name, value in trained(make, n, 4, tmp_path / "interrupted").items():
            assert torch.equal(value, uninterrupted[name]), name

    return check
