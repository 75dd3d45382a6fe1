"""The conformance checks of a figure."""

from __future__ import annotations

from collections.abc import Iterator

from urbankit.testing.candidate import Candidate, Check


def has_a_title(candidate: Candidate) -> Iterator[str]:
    """It has a title and an order among the figures."""
    title, order = getattr(candidate.component, "title", None), candidate.component.order
    if not isinstance(title, str) or not title.strip():
        yield f"`title` is {title!r}; give a text, such as 'maps of residuals'"
    if not isinstance(order, int):
        yield f"`order` is {order!r}; give an integer; figures with lower numbers come first"


CHECKS: tuple[Check, ...] = (has_a_title,)
