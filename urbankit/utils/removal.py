"""Remove files that urbankit wrote, and no others."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from urbankit.utils.files import PARTIAL
from urbankit.utils.paths import resolve_inside


def remove_partial_files(folder: Path) -> None:
    """Remove the unfinished files that killed processes left in `folder` and below."""
    for parent, _, names in os.walk(folder):  # does not follow links to other folders
        for name in names:
            if name.startswith(PARTIAL):
                Path(parent, name).unlink(missing_ok=True)


def remove_files(folder: Path, names: Iterable[str]) -> None:
    """Remove files by their paths in `folder`, and the subfolders that are empty then.

    Args:
        folder: A folder that urbankit wrote.
        names: Paths relative to it, of files that urbankit wrote there. A path that leaves the folder, also by a
            symbolic link, is skipped.
    """
    root = Path(os.path.realpath(folder))
    for name in names:
        path = resolve_inside(root, name)
        if path is None or not Path(os.path.realpath(path.parent)).is_relative_to(root):
            continue
        path.unlink(missing_ok=True)
        for parent in path.parents:
            if parent == root or not parent.is_dir() or any(parent.iterdir()):
                break
            parent.rmdir()
