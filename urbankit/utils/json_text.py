"""Parsing JSON that may be damaged."""

from __future__ import annotations

import json
from typing import Any

DEPTH = 100
"""Most levels of lists and objects within each other; code that walks deeper ones meets the recursion limit."""


def parse_json(text: str | bytes) -> Any:
    """Return the value of a JSON text. Raises `ValueError` for any other text, and for one nested too deeply."""
    try:
        value = json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    if _opened(text) > DEPTH and _depth(value) > DEPTH:
        raise ValueError("it is nested too deeply")
    return value


def _opened(text: str | bytes) -> int:
    """Return how often a bracket opens, at least as often as the value is deep."""
    return text.count(b"[") + text.count(b"{") if isinstance(text, bytes) else text.count("[") + text.count("{")


def _depth(value: Any) -> int:
    """Return how many levels of lists and objects a value has, counted no further than `DEPTH` + 1."""
    depth, level = 0, [value]
    while depth <= DEPTH and (level := [one for one in level if isinstance(one, dict | list) and one]):
        depth += 1
        level = [child for one in level for child in (one.values() if isinstance(one, dict) else one)]
    return depth
