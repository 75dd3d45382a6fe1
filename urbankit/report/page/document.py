"""One HTML file that needs nothing beside it and executes nothing but its own script."""

from __future__ import annotations

import base64
import hashlib
import json
from html import escape
from importlib import resources
from typing import Any

SCRIPTS = ("data.js", "colours.js", "shapes.js", "map.js", "legend.js", "panel.js", "search.js", "app.js")
"""In the order in which they are joined: each uses what stands before it."""


def document(title: str, body: str) -> str:
    """The page around `body`, HTML whose texts are escaped.

    The policy in its head lets a browser run the script and the style that belong to it, known by their hashes, and
    load nothing: markup that came in with a name is text, and if it were not, it would still do nothing.
    """
    style = _asset("style.css")
    policy = (
        f"default-src 'none'; script-src {_source(_script())}; style-src {_source(style)}; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>{escape(title)}</title>\n<style>{style}</style></head>\n<body>\n{body}\n</body></html>\n"
    )


def program() -> str:
    """The script, which draws the map of the data above it."""
    return f"<script>{_script()}</script>\n"


def data_block(key: str, value: Any) -> str:
    """JSON that the script finds under the id `data-KEY`."""
    return f'<script type="application/json" id="data-{key}">{_json(value)}</script>\n'


def _script() -> str:
    return "\n".join(['(() => {\n"use strict";', *map(_asset, SCRIPTS), "})();"])


def _json(value: Any) -> str:
    """JSON in which nothing ends a script element or, read as JavaScript, a line."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def _asset(name: str) -> str:
    return (resources.files("urbankit.report.page") / "assets" / name).read_text(encoding="utf-8")


def _source(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
