"""Packages that exist but may not be installed, for messages about unknown names (`known_packages.json`)."""

from __future__ import annotations

import json
from pathlib import Path


def known_package(kind: str, name: str) -> str | None:
    """Return the package that registers the component, or None if no known one does."""
    packages = json.loads(Path(__file__).with_name("known_packages.json").read_text(encoding="utf-8"))
    return next((package for package, kinds in packages.items() if name in kinds.get(kind, ())), None)
