"""Paths of a city spec: relative to the data folder, and never out of it."""

from __future__ import annotations

import os
from pathlib import Path

from urbankit.utils.errors import suggest


def resolve_inside(folder: Path, name: str) -> Path | None:
    """`folder / name`, or None where that path would leave the folder (absolute, or by `..`).

    Symbolic links within the folder are followed: they are its owner's own.
    """
    if "\0" in name or Path(name).is_absolute():
        return None
    relative = Path(os.path.normpath(name))
    return None if ".." in relative.parts else Path(folder) / relative


def explain_missing(path: Path) -> str:
    """Why a file is not there: the folder is missing, or the closest names in it."""
    if path.is_dir():
        return "is a folder; name a file in it"
    if not path.parent.is_dir():
        return f"file not found: there is no folder {path.parent}"
    names = [entry.name for entry in path.parent.iterdir()]
    near = suggest(path.name, names)
    return "file not found." + (near if near.startswith(" Did you mean") else "")
