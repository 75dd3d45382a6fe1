"""The manifest of a prepared city: its format, content hash, and the files and hash of every layer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from urbankit.city.manifest_schema import LAYERS, faults_of_layer, faults_of_manifest
from urbankit.utils.errors import Problem, UserError
from urbankit.utils.files import file_check, hash_json, read_json, write_json
from urbankit.utils.hashes import hash_large
from urbankit.utils.ledger import Check
from urbankit.utils.paths import is_name_inside

FORMAT = 2
MANIFEST = "manifest.json"
REPORT = "report.json"
COPY = "manifest-copy.json"
"""A copy of the manifest, for `prepare` to repair a city whose manifest is damaged."""

ORDER = list(LAYERS)
"""Kinds of layers in the order of the manifest and the report."""

Entry = dict[str, Any]
"""What the manifest records of a layer under `parts`: `inputs`, `hash`, `files`, `checks`, `report`, more by its kind.

`files` are paths in the city folder, `checks` the size in bytes and the SHA-256 of each.
"""


def sort_entries(entries: Mapping[str, Entry]) -> dict[str, Entry]:
    """The entries of layers by kind; those of one kind stay in order."""
    return {key: entries[key] for key in sorted(entries, key=lambda key: ORDER.index(key.split(".", 1)[0]))}


def hash_entries(entries: Mapping[str, Entry]) -> str:
    """The content hash of a city with these layers; the base map is for readers of maps, and changes no number."""
    return hash_json({key: entry["hash"] for key, entry in entries.items() if key != "base_map"})


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a city folder. Raises `UserError` if it is missing or damaged."""
    manifest = _read(folder, folder / MANIFEST)
    if manifest.get("format") == FORMAT and not is_unchanged(manifest):
        message = "is damaged, or was changed by hand; run the same `urbankit prepare` again, which repairs it"
        raise UserError(Problem(message, folder / MANIFEST))
    return manifest


def read_repairable_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a city folder, or its copy if the manifest is damaged. Raises `UserError` if both are.

    A manifest with entries that urbankit does not write, such as files outside the folder, raises `UserError` as well.
    """
    try:
        return read_manifest(folder)
    except UserError:
        copy = folder / COPY
        if not _is_damaged(folder / MANIFEST) or not copy.is_file():
            raise
        manifest = _read(folder, copy)
        if not is_unchanged(manifest):
            raise
        return manifest | {"complete": False}


def _is_damaged(path: Path) -> bool:
    """Whether a manifest is missing, cannot be read, or is not what was written, but names no file of others."""
    try:
        return not is_unchanged(_read(path.parent, path))
    except UserError:
        try:
            return not isinstance(read_json(path), dict)
        except (ValueError, OSError):
            return True


def _read(folder: Path, path: Path) -> dict[str, Any]:
    try:
        manifest = read_json(path)
    except FileNotFoundError:
        message = "is not a prepared city; make one with `urbankit prepare city.yaml`"
        raise UserError(Problem(message, folder)) from None
    except (ValueError, OSError) as error:
        raise UserError(Problem(f"is damaged ({error}); prepare the city again into an empty folder", path)) from None
    if not isinstance(manifest, dict) or not isinstance(manifest.get("parts"), dict):
        raise UserError(Problem("is not the manifest of a city; prepare it again", path))
    faults = faults_of_manifest(manifest) if manifest.get("format") == FORMAT else []
    for key, entry in manifest["parts"].items():
        faults += faults_of_layer(key, entry)
    if not faults:
        faults = [f"names a file outside the city folder: {name}" for name in _outside(folder, manifest)]
    if faults:
        message = "urbankit did not write this manifest; prepare into another --out"
        raise UserError([Problem(f"{fault}; {message}", path) for fault in faults[:10]])
    return manifest


def _outside(folder: Path, manifest: Mapping[str, Any]) -> list[str]:
    """The files that a manifest names and that do not lie in the city folder."""
    names = [*manifest.get("written", {}), *manifest.get("checks", {})]
    for entry in manifest["parts"].values():
        names += [*entry["files"], *entry.get("checks", {})]
    return [name for name in names if not is_name_inside(folder, name)]


def write_manifest(folder: Path, manifest: Mapping[str, Any]) -> None:
    """Write the manifest of a city, with the hash of its own content, and its copy."""
    content = {key: value for key, value in manifest.items() if key != "sha256"}
    for name in (MANIFEST, COPY):
        write_json(folder / name, content | {"sha256": hash_json(content)})


def is_unchanged(manifest: Mapping[str, Any]) -> bool:
    """Whether a manifest is what `write_manifest` wrote."""
    content = {key: value for key, value in manifest.items() if key != "sha256"}
    return manifest.get("sha256") == hash_json(content)


def file_checks(folder: Path, names: Iterable[str]) -> dict[str, Check]:
    """The size in bytes and the SHA-256 of each file, as an entry records them under `checks`."""
    return {name: file_check(folder / name) for name in names}


def all_checks(manifest: Mapping[str, Any]) -> dict[str, Check]:
    """The size and SHA-256 of every file that a manifest lists, by its path in the folder."""
    listed = [entry.get("checks", {}) for entry in manifest["parts"].values()] + [manifest.get("checks", {})]
    return {name: check for checks in listed for name, check in checks.items()}


def recorded_hashes(manifest: Mapping[str, Any]) -> dict[str, set[str]]:
    """Every SHA-256 that a manifest records of a file, by the file's path, also of an unfinished `prepare`."""
    hashes = {name: set(recorded) for name, recorded in manifest.get("written", {}).items()}
    for entry in manifest.get("parts", {}).values():
        for name in entry["files"]:
            hashes.setdefault(name, set())
        for name, check in entry.get("checks", {}).items():
            hashes.setdefault(name, set()).add(check["sha256"])
    return hashes


def is_recorded(folder: Path, manifest: Mapping[str, Any]) -> bool:
    """Whether report, manifest and its copy in the folder are those of `manifest`."""
    try:
        copies = [read_json(folder / name) for name in (MANIFEST, COPY)]
        return copies == [manifest, manifest] and manifest["checks"] == file_checks(folder, [REPORT])
    except (OSError, ValueError, KeyError):
        return False


def is_intact(folder: Path, entry: Entry) -> bool:
    """Whether every file of a layer is there with the size and SHA-256 that its entry records."""
    try:
        return all(
            (folder / name).stat().st_size == entry["checks"][name]["size"]
            and hash_large(folder / name) == entry["checks"][name]["sha256"]
            for name in entry["files"]
        )
    except (OSError, KeyError, TypeError):
        return False
