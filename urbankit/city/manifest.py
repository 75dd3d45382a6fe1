"""The manifest of a prepared city: its version, content hash and the files of every table."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from urbankit.utils.errors import Problem, UserError
from urbankit.utils.files import hash_json, read_json

LOCK = ".lock"
"""Held while a city is prepared or captions are attached to it."""


def sort_parts(entries: Mapping[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Parts as manifest and report have them: by kind, then as they come."""
    order = ["regions", "images", "captions", "poi", "flows", "tables", "targets"]
    return {key: entries[key] for key in sorted(entries, key=lambda key: order.index(key.split(".", 1)[0]))}


def hash_parts(entries: Mapping[str, dict[str, Any]]) -> str:
    """The content hash of a city of these parts."""
    return hash_json({key: entry["hash"] for key, entry in entries.items()})


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a city folder. Raises `UserError` where there is none or it is damaged."""
    path = folder / MANIFEST
    try:
        manifest = read_json(path)
    except FileNotFoundError:
        raise UserError(Problem("is no prepared city; make one with `urbankit prepare city.yaml`", folder)) from None
    except (ValueError, OSError) as error:
        raise UserError(Problem(f"is damaged ({error}); prepare the city again into an empty folder", path)) from None
    if not isinstance(manifest, dict) or "parts" not in manifest:
        raise UserError(Problem("is not the manifest of a city; prepare it again", path))
    return manifest


FORMAT = 1


MANIFEST = "manifest.json"


REPORT = "report.json"
