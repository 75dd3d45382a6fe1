"""The synthetic city: a generative model whose observations are written as source files."""

from __future__ import annotations

from urbankit.datasets.synthetic.write import write_demo

__all__ = ["write_demo"]
