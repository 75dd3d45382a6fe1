"""Remove files that urbankit wrote, and no others. No other module removes, renames or replaces a file."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from urbankit.utils.files import PARTIAL, abandoned_files, hash_file, raise_if_full, sync_folder
from urbankit.utils.ledger import LEDGER, Ledger, is_listed, ledger_folder, record
from urbankit.utils.locks import LOCK, LOCKS, file_lock
from urbankit.utils.paths import resolve_inside


def remove_file(path: Path) -> None:
    """Remove one file that the caller knows to be urbankit's; a missing one is no error."""
    if (folder := ledger_folder(path)) and is_listed(folder, path):
        with suppress(OSError):  # on a full disk as well, the file goes
            record(folder, path, {})
    path.unlink(missing_ok=True)


def remove_partial_files(folder: Path) -> None:
    """Remove the unfinished files and folders that killed processes left in `folder` and below.

    Those that another process is writing stay, such as files of a run in a city's folder.
    """
    for parent, folders, names in os.walk(folder):  # does not follow links to other folders
        remove_files(folder, [os.path.relpath(path, folder) for path in abandoned_files(Path(parent), names)])
        for name in [name for name in folders if name.startswith(PARTIAL)]:
            folders.remove(name)
            _remove_abandoned_folder(Path(parent, name))


def remove_files(folder: Path, names: Iterable[str]) -> None:
    """Remove files by their paths in `folder`, and the subfolders that are empty then.

    Args:
        folder: A folder that urbankit wrote.
        names: Paths relative to it, of files that urbankit wrote there. A path that leaves the folder, also by a
            symbolic link, is skipped.
    """
    root = Path(os.path.realpath(folder))
    for name in names:
        path = _inside(root, name)
        if path is None or path.is_dir():
            continue
        remove_file(path)
        for parent in path.parents:
            if parent == root or not parent.is_dir() or any(parent.iterdir()):
                break
            parent.rmdir()


def remove_unchanged(folder: Path, hashes: Mapping[str, Iterable[str]]) -> list[str]:
    """Remove the files that still have a SHA-256 that urbankit recorded for them; see `remove_files`.

    Args:
        folder: A folder that urbankit wrote.
        hashes: The recorded SHA-256 of each file, one or several, by its path in the folder.

    Returns:
        The paths of files that remain, because they changed since or lie outside the folder.
    """
    root = Path(os.path.realpath(folder))
    changed = []
    for name, recorded in hashes.items():
        path = _inside(root, name)
        if path is None or (path.exists() and (not path.is_file() or hash_file(path) not in recorded)):
            changed.append(name)
        else:
            remove_files(folder, [name])
    return changed


def remove_recorded(folder: Path) -> list[str]:
    """Remove every file that the ledger of `folder` lists, the ledger, and the folder if it is empty then.

    Returns:
        The paths of files that remain, because the ledger does not list them or they have changed since.
    """
    remove_partial_files(folder)
    files = {name: [entry["sha256"] for entry in entries] for name, entries in Ledger(folder).files.items()}
    remove_unchanged(folder, files)
    bookkeeping = {LEDGER, *LOCKS}
    remaining = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir()]
    if not set(remaining) - bookkeeping:
        for name in bookkeeping:
            (folder / name).unlink(missing_ok=True)
        remove_empty_folder(folder)
    return sorted(set(remaining) - bookkeeping)


def remove_empty_folder(folder: Path) -> None:
    """Remove a folder if it is empty."""
    with suppress(OSError):
        folder.rmdir()


@contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """Yield a temporary folder that becomes `folder` if the block succeeds and is removed if it fails.

    `folder` must be missing or empty. What a killed process left of an earlier try is removed.
    """
    prefix = f"{PARTIAL}{folder.name}-"
    for abandoned in [path for path in folder.parent.glob("*") if path.name.startswith(prefix)]:
        _remove_abandoned_folder(abandoned)
    temporary = folder.with_name(f"{prefix}{secrets.token_hex(4)}")
    temporary.mkdir(parents=True)
    try:
        with file_lock(temporary / LOCK):
            yield temporary
        (temporary / LOCK).unlink(missing_ok=True)
        if folder.exists():  # it may be the working directory, which cannot be replaced
            for path in sorted(temporary.iterdir()):
                path.rename(folder / path.name)
        else:
            temporary.rename(folder)
        sync_folder(folder.parent)
    except Exception as error:
        raise_if_full(folder, error, temporary.rglob("*"))
        raise
    finally:
        _remove_tree(temporary)


@contextmanager
def work_folder(folder: Path) -> Iterator[Path]:
    """Yield a folder for unfinished files, whose name starts with `PARTIAL`; it is removed at the end."""
    if not folder.name.startswith(PARTIAL):
        raise ValueError(f"the name of {folder} does not start with {PARTIAL}")
    folder.mkdir(parents=True, exist_ok=True)
    try:
        yield folder
    finally:
        _remove_tree(folder)


def _inside(root: Path, name: str) -> Path | None:
    """The path of `name` in the folder `root`; None if it leaves the folder, also by a link to another folder."""
    path = resolve_inside(root, name)
    return path if path is not None and Path(os.path.realpath(path.parent)).is_relative_to(root) else None


def _remove_abandoned_folder(folder: Path) -> None:
    """Remove an unfinished folder, unless a process holds its lock."""
    if folder.is_symlink():
        _remove_tree(folder)
    elif folder.is_dir():
        with suppress(OSError), file_lock(folder / LOCK, wait=False):
            _remove_tree(folder)


def _remove_tree(folder: Path) -> None:
    if folder.is_symlink():
        folder.unlink()
    else:
        shutil.rmtree(folder, ignore_errors=True)  # noqa: TID251  only folders whose name starts with PARTIAL
