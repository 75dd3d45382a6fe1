"""One HTML file that needs nothing beside it and executes nothing but its own script."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from html import escape
from importlib import resources
from typing import Any

SCRIPTS = ("data.js", "colours.js", "shapes.js", "map.js", "legend.js", "panel.js", "search.js", "app.js")
"""In the order in which they are joined: each uses what stands before it."""


def document(title: str, body: str, data: Mapping[str, Any]) -> str:
    """The page: `body` is HTML whose texts are escaped; each of `data` is JSON under the id `data-KEY`.

    The policy in its head lets a browser run the one script and style that are part of it, known by their hashes, and
    load nothing: markup that came in with a name would stay text, and if it did not, it would still do nothing.
    """
    style, script = _asset("style.css"), "\n".join(['(() => {\n"use strict";', *map(_asset, SCRIPTS), "})();"])
    policy = (
        f"default-src 'none'; script-src {_source(script)}; style-src {_source(style)}; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>{escape(title)}</title>\n<style>{style}</style></head>\n<body>\n{body}\n"
        + "".join(f'<script type="application/json" id="data-{key}">{_json(data[key])}</script>\n' for key in data)
        + f"<script>{script}</script>\n</body></html>\n"
    )


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
