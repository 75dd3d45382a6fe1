"""How messages list things."""

from __future__ import annotations

import re
from collections.abc import Iterable

_HIDDEN = re.compile(
    r"[\x00-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb\ud800-\udfff]"
)
_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


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


def printable(text: str, keep: str = "") -> str:
    """The text with control characters, marks that reorder text and lone surrogates escaped.

    `keep`: control characters that stay.
    """
    if text.isascii() and text.isprintable():
        return text
    return _HIDDEN.sub(lambda match: match[0] if match[0] in keep else _escape(match[0]), text)


def _escape(character: str) -> str:
    return _SHORT.get(character) or (f"\\x{ord(character):02x}" if ord(character) < 256 else f"\\u{ord(character):04x}")
