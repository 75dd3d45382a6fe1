"""The manifest of a prepared city: its format, content hash, and the files and hash of every layer."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from urbankit.utils.errors import Problem, UserError
from urbankit.utils.files import hash_json, read_json

FORMAT = 1
MANIFEST = "manifest.json"
REPORT = "report.json"
LOCK = ".lock"
"""Held while a city is prepared or captions are attached to it."""

ORDER = ["regions", "images", "captions", "poi", "flows", "tables", "targets"]
"""Kinds of layers in the order of the manifest and the report."""

Entry = dict[str, Any]
"""What the manifest records of a layer under `parts`: `inputs`, `hash`, `files`, `report` and more by its kind."""


def sort_entries(entries: Mapping[str, Entry]) -> dict[str, Entry]:
    """The entries of layers by kind; those of one kind stay in order."""
    return {key: entries[key] for key in sorted(entries, key=lambda key: ORDER.index(key.split(".", 1)[0]))}


def hash_entries(entries: Mapping[str, Entry]) -> str:
    """The content hash of a city with these layers."""
    return hash_json({key: entry["hash"] for key, entry in entries.items()})


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a city folder. Raises `UserError` if it is missing or damaged."""
    path = folder / MANIFEST
    try:
        manifest = read_json(path)
    except FileNotFoundError:
        message = "is not a prepared city; make one with `urbankit prepare city.yaml`"
        raise UserError(Problem(message, folder)) from None
    except (ValueError, OSError) as error:
        raise UserError(Problem(f"is damaged ({error}); prepare the city again into an empty folder", path)) from None
    if not isinstance(manifest, dict) or "parts" not in manifest:
        raise UserError(Problem("is not the manifest of a city; prepare it again", path))
    return manifest
