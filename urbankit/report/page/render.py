"""HTML from the templates of this package: every text is escaped, and a page needs no other file."""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from importlib import resources
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

SCRIPTS = (
    "data.js", "colours.js", "shapes.js", "base.js", "map.js", "divider.js", "legend.js", "panel.js", "search.js",
    "table.js", "app.js",
)  # fmt: skip
"""In the order in which they are joined: each uses those before it."""

_TEMPLATES = Environment(
    loader=PackageLoader("urbankit.report.page"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_TEMPLATES.policies["json.dumps_kwargs"] = {"allow_nan": False, "separators": (",", ":")}


def render(template: str, **values: Any) -> Markup:
    """Return `templates/TEMPLATE.html` with `values` filled in. All but `Markup` is escaped."""
    return Markup(_TEMPLATES.get_template(f"{template}.html").render(values))


def render_page(**values: Any) -> str:
    """Return the HTML document of `page.html`.

    Its content security policy lets a browser run the page's own script and style, known by their hashes, and load
    nothing. Markup in a name is text; a browser would not run it even if it were not.
    """
    style = _asset("style.css")
    return render("page", style=style, style_hash=_sha256(style), script_hash=_sha256(script()), **values)


@cache
def script() -> Markup:
    """Return the script that draws the map."""
    return Markup("\n".join(['(() => {\n"use strict";', *map(_asset, SCRIPTS), "})();"]))


def _asset(name: str) -> Markup:
    return Markup((resources.files("urbankit.report.page") / "assets" / name).read_text(encoding="utf-8"))


def _sha256(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
