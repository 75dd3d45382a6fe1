"""Paths that stay inside a folder, such as those of a city spec inside the data folder."""

from __future__ import annotations

import functools
import os
from collections.abc import Sequence
from pathlib import Path

from urbankit.utils.errors import Problem, UserError, suggest


def resolve_inside(folder: Path, name: str) -> Path | None:
    """`folder / name`, or None if that path leaves the folder (absolute, or by `..`), or no file can have the name."""
    if not _is_possible(name) or Path(name).is_absolute():
        return None
    relative = Path(os.path.normpath(name))
    return None if ".." in relative.parts else Path(folder) / relative


def _is_possible(name: str) -> bool:
    """Whether a file can have a name: without NUL and lone surrogates."""
    try:
        return b"\0" not in os.fsencode(name)
    except UnicodeEncodeError:
        return False


def is_name_inside(folder: Path, name: str) -> bool:
    """Return whether `name` is a path in a folder, also after following symbolic links."""
    path = resolve_inside(folder, name)
    return path is not None and is_inside(folder, path)


def is_inside(folder: Path, path: Path) -> bool:
    """Return whether a path is in a folder after following symbolic links."""
    root = os.path.realpath(folder)
    return os.path.commonpath([root, os.path.realpath(path)]) == root


def data_paths(
    folder: Path, names: Sequence[str], key: str | None = None, file: Path | None = None, *, outside: bool = False
) -> list[Path]:
    """Each of `names` in the data folder.

    Raises `UserError` for the first that leaves it, also by a symbolic link, unless `outside` paths are allowed; `key`
    and `file` say where it is named.
    """
    if outside and all(map(_is_possible, names)):
        return [Path(folder) / name for name in names]
    root = os.path.realpath(folder)
    # Pictures share their folders: following links once per folder, not once per picture, makes this cheap.
    real_folder = functools.cache(os.path.realpath)
    paths = []
    for name in names:
        path = resolve_inside(folder, name)
        if path is not None:
            real = os.path.realpath(path) if path.is_symlink() else real_folder(path.parent)
        if path is None or os.path.commonpath([root, real]) != root:
            message = (
                f"the path '{name}' leaves the data folder {folder}; put the file in it, or write `allow: [outside]` "
                "in the city file"
            )
            raise UserError(Problem(message, file, key=key))
        paths.append(path)
    return paths


def links_outside(folder: Path, root: Path) -> list[Path]:
    """Return the symbolic links in a folder and below that lead out of `root`."""
    return [path for path in sorted(folder.rglob("*")) if path.is_symlink() and not is_inside(root, path)]


def explain_missing(path: Path) -> str:
    """Why a file is missing: its folder is missing too, or the closest names in that folder."""
    if path.is_dir():
        is_geodatabase = path.suffix.lower() == ".gdb"
        return (
            "is an Esri geodatabase; convert it with `ogr2ogr OUT.gpkg IN.gdb` and name OUT.gpkg"
            if is_geodatabase
            else ("is a folder; name a file in it")
        )
    if path.is_symlink():
        return f"is a symbolic link to {path.readlink()}, which is no file"
    if path.exists():
        return "is no regular file but a pipe, socket or device; write its content to a file"
    if not path.parent.is_dir():
        return f"file not found: there is no folder {path.parent}"
    near = suggest(path.name, [entry.name for entry in path.parent.iterdir()])
    return "file not found." + (near if near.startswith(" Did you mean") else "")
