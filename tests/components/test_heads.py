"""Heads: shapes, and the numbers of the linear one."""

from __future__ import annotations

import pytest
import torch

from urbankit import registry
from urbankit.component import Use


@pytest.mark.parametrize("name", ["linear", "mlp"])
def test_a_head_gives_its_outputs_and_learns(name):
    head = registry.create("head", Use(name=name), 6, 3)
    out = head(torch.randn(5, 6))
    assert out.shape == (5, 3)
    out.sum().backward()
    assert all(p.grad is not None for p in head.parameters())


def test_linear_is_an_affine_map():
    head = registry.create("head", Use(name="linear"), 2, 1)
    x = torch.randn(4, 2)
    assert torch.allclose(head(x), x @ head.layer.weight.T + head.layer.bias)
