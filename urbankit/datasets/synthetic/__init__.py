"""The synthetic city: a generative story written as raw sources, to be prepared like any other city."""

from __future__ import annotations

from urbankit.datasets.synthetic.write import write_demo

__all__ = ["write_demo"]
