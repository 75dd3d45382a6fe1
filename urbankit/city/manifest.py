"""The manifest of a prepared city: its format, content hash, and the files and hash of every layer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from urbankit.utils.errors import Problem, UserError
from urbankit.utils.files import hash_file, hash_json, read_json
from urbankit.utils.paths import resolve_inside

FORMAT = 1
MANIFEST = "manifest.json"
REPORT = "report.json"
LOCK = ".lock"
"""Held while a city is prepared or captions are attached to it."""

ORDER = ["regions", "images", "captions", "poi", "flows", "tables", "targets"]
"""Kinds of layers in the order of the manifest and the report."""

Entry = dict[str, Any]
"""What the manifest records of a layer under `parts`: `inputs`, `hash`, `files`, `checks`, `report`, more by its kind.

`files` are paths in the city folder, `checks` the size in bytes and the SHA-256 of each.
"""


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
    if not isinstance(manifest, dict) or not isinstance(manifest.get("parts"), dict):
        raise UserError(Problem("is not the manifest of a city; prepare it again", path))
    faults = [fault for key, entry in manifest["parts"].items() for fault in _entry_faults(folder, key, entry)]
    if faults:
        raise UserError(
            [Problem(f"{fault}; urbankit did not write it; prepare into another --out", path) for fault in faults]
        )
    return manifest


def _entry_faults(folder: Path, key: str, entry: Any) -> list[str]:
    """Why an entry of a manifest is not one that urbankit wrote; its files lie in the city folder."""
    if key.split(".", 1)[0] not in ORDER:
        return [f"parts.{key} is no layer of a city"]
    if not isinstance(entry, dict) or not all(isinstance(entry.get(name), str) for name in ("inputs", "hash")):
        return [f"parts.{key} is no entry of a layer"]
    files = entry.get("files")
    if not isinstance(files, list) or not all(isinstance(name, str) for name in files):
        return [f"parts.{key}.files is no list of files"]
    outside = [name for name in files if not _is_inside(folder, name)]
    if outside:
        return [f"parts.{key} names a file outside the city folder: {outside[0]}"]
    return [] if isinstance(entry.get("report"), dict) else [f"parts.{key} has no report"]


def _is_inside(folder: Path, name: str) -> bool:
    path = resolve_inside(folder, name)
    return path is not None and path.resolve().is_relative_to(folder.resolve())


def file_checks(folder: Path, names: Iterable[str]) -> dict[str, dict[str, Any]]:
    """The size in bytes and the SHA-256 of each file, as an entry records them under `checks`."""
    return {name: {"size": (folder / name).stat().st_size, "sha256": hash_file(folder / name)} for name in names}


def is_intact(folder: Path, entry: Entry) -> bool:
    """Whether every file of a layer is there with the size and SHA-256 that its entry records."""
    try:
        return all(
            (folder / name).stat().st_size == entry["checks"][name]["size"]
            and hash_file(folder / name) == entry["checks"][name]["sha256"]
            for name in entry["files"]
        )
    except (OSError, KeyError, TypeError):
        return False
