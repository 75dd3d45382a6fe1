"""How messages list things."""

from __future__ import annotations

from collections.abc import Iterable


def list_some(names: Iterable[object], most: int = 5) -> str:
    """The first few of many: `a, b` or `a, b, c, d, e, … (70 in all)`."""
    texts = [str(name) for name in names]
    return ", ".join(texts) if len(texts) <= most else ", ".join(texts[:most]) + f", … ({len(texts):,} in all)"


def format_number(value: float) -> str:
    """A number as people write it: `1,542,522` or `0.333333`."""
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:,.6g}"


def first_line(error: BaseException, most: int = 300) -> str:
    """The first line of an error's message, or the error's type if it has none."""
    lines = str(error).strip().splitlines()
    return lines[0][:most] if lines else type(error).__name__
