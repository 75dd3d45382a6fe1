"""`urbankit check`: compare the files of cities, runs, features, suites and the cache with their recorded hashes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from urbankit.city.files import CityFiles
from urbankit.city.manifest import COPY, all_checks, is_unchanged, read_manifest
from urbankit.modalities.cache.files import damaged_features, read_features_manifest
from urbankit.utils.cache import read_entry
from urbankit.utils.errors import Problem, UserError
from urbankit.utils.files import PARTIAL, file_check, read_json
from urbankit.utils.ledger import LEDGER, Ledger, ledger_folder

MANIFEST = "manifest.json"
CACHES = ("features", "floors")
"""Folders of the cache whose files are entries with a hash."""


class Checked(NamedTuple):
    """The number of files that were compared, and a problem for each that is damaged or missing."""

    files: int
    problems: list[Problem]


def check_path(path: str | Path) -> Checked:
    """Compare the files of a city, run, suite, cache or folder of features, or of all such folders below `path`.

    Raises:
        UserError: If there is nothing below `path` that urbankit wrote.
    """
    path = Path(path)
    if not path.is_dir():
        raise UserError(Problem("is no folder; name that of a city, a run, a suite, features or the cache", path))
    checked = [result for folder in _folders(path) if (result := _check_folder(folder)) is not None]
    if not checked:
        message = (
            "holds nothing that urbankit wrote with hashes; name the folder of a city, a run, a suite or the cache"
        )
        raise UserError(Problem(message, path))
    return Checked(sum(one.files for one in checked), [problem for one in checked for problem in one.problems])


def _folders(path: Path) -> Iterator[Path]:
    """`path` and all folders below it, without links and unfinished folders."""
    for parent, names, _ in os.walk(path):
        names[:] = sorted(name for name in names if not name.startswith(PARTIAL))
        yield Path(parent)


def _check_folder(folder: Path) -> Checked | None:
    """The result for one folder without those below it; None if no hashes are recorded for it."""
    if (folder / LEDGER).is_file():
        return _check_ledger(folder)
    if (folder / MANIFEST).is_file() or (folder / COPY).is_file():
        return _check_manifest(folder)
    in_cache = folder.name in CACHES or folder.parent.name in CACHES
    if in_cache and ledger_folder(folder / LEDGER) is None:  # a suite has a folder `floors` as well
        return _check_entries(folder)
    return None


def _check_ledger(folder: Path) -> Checked:
    """The files of a run or of a suite."""
    ledger = Ledger(folder)
    problems = [Problem("the line is damaged", folder / LEDGER, line=line) for line in ledger.damaged_lines]
    for name in ledger.files:
        path = folder / name
        if not path.is_file():
            problems.append(Problem("is missing", path))
        elif not ledger.accepts(name, file_check(path)):
            problems.append(Problem(f"is damaged: {LEDGER} has another size or SHA-256", path))
    return Checked(len(ledger.files), problems)


def _check_manifest(folder: Path) -> Checked | None:
    """The files of a city or of features; None for a manifest of something else."""
    path = folder / MANIFEST
    try:
        manifest = read_json(path)
    except (ValueError, OSError) as error:
        return Checked(1, [Problem(f"is damaged ({error})", path)])
    if isinstance(manifest, dict) and "parts" in manifest:
        return _check_city(folder)
    if isinstance(manifest, dict) and {"checks", "content", "files"} <= manifest.keys():
        return _check_features(folder)
    if isinstance(manifest, dict) and "recipe_hash" in manifest:
        return Checked(1, [Problem(f"the run has no {LEDGER}: an earlier version of urbankit wrote it", folder)])
    if (folder / COPY).is_file():
        return Checked(1, [Problem("is damaged; run the same `urbankit prepare` again, which repairs it", path)])
    return None


def _check_city(folder: Path) -> Checked:
    try:
        manifest = read_manifest(folder)
    except UserError as error:
        return Checked(1, list(error.problems))
    problems = [] if is_unchanged(manifest) else [Problem("was prepared by another version of urbankit", folder)]
    if not manifest.get("complete"):
        problems.append(Problem("was not prepared completely; run the same `urbankit prepare` again", folder))
    files = CityFiles(folder, all_checks(manifest))
    return Checked(len(files.checks) + 1, problems + files.damaged())


def _check_features(folder: Path) -> Checked:
    try:
        manifest = read_features_manifest(folder)
    except (ValueError, OSError) as error:
        return Checked(1, [Problem(f"is damaged ({error})", folder / MANIFEST)])
    return Checked(len(manifest["files"]) + 1, damaged_features(folder, manifest))


def _check_entries(folder: Path) -> Checked | None:
    entries = [path for path in sorted(folder.iterdir()) if path.is_file() and not path.name.startswith(PARTIAL)]
    message = "is damaged; it is computed again when a run needs it"
    return Checked(len(entries), [Problem(message, path) for path in entries if read_entry(path) is None])
