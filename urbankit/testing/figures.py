"""The conformance checks of a figure."""

from __future__ import annotations

from collections.abc import Iterator

from urbankit.testing.candidate import Candidate, Check


def says_what_it_draws(candidate: Candidate) -> Iterator[str]:
    """It has a title and a place among the figures."""
    title, order = getattr(candidate.component, "title", None), candidate.component.order
    if not isinstance(title, str) or not title.strip():
        yield f"`title` is {title!r}; say what is drawn, such as 'maps of residuals'"
    if not isinstance(order, int):
        yield f"`order` is {order!r}; give a whole number, figures of lower numbers come first"


CHECKS: tuple[Check, ...] = (says_what_it_draws,)
