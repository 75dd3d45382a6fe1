"""HTML for pages and notebooks."""

from __future__ import annotations

import html
from collections.abc import Iterable

from urbankit.utils.text import printable


def escape(text: str) -> str:
    """The text with the signs of HTML and control characters escaped."""
    return html.escape(printable(text))


def facts(title: str, pairs: Iterable[tuple[str, object]]) -> str:
    """A heading and a table of names and values, as notebooks show an object. Empty values are left out."""
    rows = "".join(
        f'<tr><th scope="row" style="text-align: left">{escape(name)}</th>'
        f'<td style="text-align: left">{escape(str(value))}</td></tr>'
        for name, value in pairs
        if str(value)
    )
    return f"<p><strong>{escape(title)}</strong></p><table>{rows}</table>"
