"""How messages list things."""

from __future__ import annotations

from collections.abc import Iterable


def some(names: Iterable[object], most: int = 5) -> str:
    """The first few of many: `a, b` or `a, b, c, d, e, … (70 in all)`."""
    texts = [str(name) for name in names]
    return ", ".join(texts) if len(texts) <= most else ", ".join(texts[:most]) + f", … ({len(texts):,} in all)"
