"""Single files that a user names with `--out`: urbankit replaces one only if it wrote it and nobody changed it since.

A folder with a ledger records its own files, and which of them a user named. Of other files, a note in the cache folder
holds the SHA-256.
"""

from __future__ import annotations

from pathlib import Path

from urbankit.utils.cache import warn_unwritable
from urbankit.utils.errors import Problem, UserError
from urbankit.utils.files import cache_folder, file_check, hash_json, read_json, write_json, write_text
from urbankit.utils.ledger import Ledger, is_listed, ledger_folder, record

NAMED = "named"
"""Key of a ledger's entries of files that a user named."""


def is_own(path: Path) -> bool:
    """Whether an existing file is as urbankit wrote it."""
    check = file_check(path)
    if (folder := ledger_folder(path)) is not None:
        ledger = Ledger(folder)
        if (name := ledger.name_of(path)) in ledger.files:
            return ledger.accepts(name, check)
    try:
        return bool(read_json(_note(path)) == check)
    except (OSError, ValueError):
        return False


def was_written(path: Path) -> bool:
    """Whether urbankit wrote a file at `path` before, whatever the file holds now."""
    folder = ledger_folder(path)
    return _note(path).is_file() or (folder is not None and is_listed(folder, path))


def check_no_result(path: Path, key: str | None = None) -> None:
    """Raise `UserError` if `path` is a file of a run, a suite or features that no user named with `--out`."""
    if (folder := ledger_folder(path)) is not None and path.exists():
        entries = (ledger := Ledger(folder)).files.get(ledger.name_of(path), [])
        if entries and not any(entry.get(NAMED) for entry in entries) and path.name != "report.html":
            raise UserError(Problem(f"is a result in {folder}; choose another file", path, key=key))


def check_new(path: Path, key: str, force: bool) -> None:
    """Raise `UserError` if a file or folder is at `path`; `force` allows files that are no results of a run.

    For files that take long to compute: an earlier one is not replaced unless the user says so.
    """
    _check_file(path, key)
    if path.exists() and not force:
        raise UserError(Problem("exists; choose another file, or replace it with --force", path, key=key))


def check_replaceable(path: Path) -> None:
    """Raise `UserError` if a file or folder is at `path` that urbankit did not write, or that has changed since.

    For files that are soon written again, such as tables and pages. Results of a run are never replaced.
    """
    _check_file(path)
    if path.exists() and not is_own(path):
        message = "exists, and urbankit did not write it, or it has changed since; remove it, or choose another file"
        raise UserError(Problem(message, path))


def _check_file(path: Path, key: str | None = None) -> None:
    if path.is_dir():
        raise UserError(Problem("is a folder; choose a file", path, key=key))
    check_no_result(path, key)


def write_own(path: Path, text: str) -> None:
    """Write a text file that may be replaced later. Raises `UserError` as `check_replaceable` does."""
    check_replaceable(path)
    write_text(path, text)
    note_own(path)


def note_own(path: Path) -> None:
    """Note that urbankit wrote the file at `path`, which the user named."""
    if (folder := ledger_folder(path)) is not None:
        record(folder, path, file_check(path) | {NAMED: True})
        return
    try:
        write_json(_note(path), file_check(path))
    except OSError as error:
        warn_unwritable(error)


def _note(path: Path) -> Path:
    return cache_folder() / "written" / f"{hash_json(str(path.resolve()))}.json"
