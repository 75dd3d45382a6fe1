"""Files that are written completely or not at all, and the hashes that identify files."""

from __future__ import annotations

import errno
import functools
import glob
import hashlib
import json
import math
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import platformdirs

from urbankit.utils.json_text import parse_json
from urbankit.utils.ledger import PARTIAL, ledger_folder, record
from urbankit.utils.locks import is_locked_open, lock_while_open

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]  # there is no limit to the size of files

FULL = 1 << 16
"""A disk with fewer free bytes is full: libraries write larger blocks."""


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path to write to, which replaces `path` if the block succeeds and is removed if it fails.

    It is moved by `replace_file`. It is locked while the block runs, so that other processes know that it is in use.
    If there is no room for the file, an `OSError` says so by its number and names the file, whichever library was
    writing.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_abandoned(path.parent.absolute())
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f"{PARTIAL}{path.stem[:40]}-", suffix=path.suffix)
    except OSError as error:
        error.filename = str(path)  # the user knows no temporary name
        raise
    temporary = Path(name)
    locked = lock_while_open(handle)
    if not locked:
        os.close(handle)
    complete = False
    try:
        temporary.chmod(0o666 & ~_UMASK)
        yield temporary
        replace_file(temporary, path)
        complete = True
    except Exception as error:
        raise_if_full(path, error, _files_of(temporary))
        raise
    finally:
        for unfinished in [] if complete else [*_files_of(temporary)]:
            unfinished.unlink(missing_ok=True)
        if locked:
            os.close(handle)


def abandoned_files(folder: Path, names: Iterable[str]) -> list[Path]:
    """Return the unfinished files of `folder` among `names` that no process is writing.

    A file whose name begins with that of a file in use, such as the journal of a database, is in use as well.
    """
    unfinished = [name for name in names if name.startswith(PARTIAL)]
    in_use = tuple(Path(name).stem for name in unfinished if is_locked_open(folder / name))
    return [folder / name for name in unfinished if not name.startswith(in_use)]


@functools.cache  # once for each folder and process
def _remove_abandoned(folder: Path) -> None:
    """Remove the unfinished files that killed processes left in `folder`."""
    with suppress(OSError):
        for path in abandoned_files(folder, [path.name for path in folder.iterdir()]):
            with suppress(OSError):  # also of folders
                path.unlink()


def replace_file(temporary: Path, path: Path) -> None:
    """Move a finished file to `path`, in place of the file there.

    Its bytes are on disk before, and the name after; the folder's ledger records the file, if the folder has one.
    """
    handle = os.open(temporary, os.O_RDONLY)
    try:
        lock_while_open(handle)  # a library may have put another file in place of the locked one
        os.fsync(handle)
        if folder := ledger_folder(path):
            record(folder, path, file_check(temporary))
        temporary.replace(path)
    finally:
        os.close(handle)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Write the names of a folder's files to disk, if the system lets a folder be opened."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def raise_if_full(path: Path, error: Exception, files: Iterable[Path]) -> None:
    """Raise an `OSError` that names `path` if `error` means that there was no room for `files`.

    numpy, SQLite and GDAL have errors of their own for it.
    """
    code = _full(path.parent, error, files)
    if code is not None:
        raise OSError(code, os.strerror(code), str(path)) from error


def _full(folder: Path, error: Exception, files: Iterable[Path]) -> int | None:
    codes = errno.ENOSPC, errno.EDQUOT, errno.EFBIG
    code = getattr(error, "errno", None)
    if code in codes:
        return code
    for code in codes:
        if os.strerror(code) in str(error):
            return code
    if not isinstance(error, OSError | RuntimeError):
        return None
    if shutil.disk_usage(folder).free < FULL or "disk is full" in str(error):
        return errno.ENOSPC
    limit = math.inf if resource is None else resource.getrlimit(resource.RLIMIT_FSIZE)[0]
    largest = max((path.stat().st_size for path in files), default=0)
    return errno.EFBIG if 0 <= limit < largest + FULL else None


def _files_of(temporary: Path) -> Iterator[Path]:
    """Yield a temporary file and those that libraries wrote beside it, such as the journal of a database."""
    return temporary.parent.glob(f"{glob.escape(temporary.stem)}*")


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


_UMASK = _umask()


def write_text(path: str | Path, text: str) -> None:
    """Write a text file, completely or not at all."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: str | Path, value: Any) -> None:
    """Write a JSON file, completely or not at all. Raises `ValueError` for NaN and infinity."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: str | Path) -> Any:
    """Return the value in a JSON file. Raises `ValueError` if it is not JSON."""
    return parse_json(Path(path).read_bytes())


def hash_file(path: str | Path) -> str:
    """Return the SHA-256 of a file's bytes, in hex."""
    digest = hashlib.sha256()
    with Path(path).open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def file_check(path: str | Path) -> dict[str, Any]:
    """Return the `size` in bytes and the `sha256` of a file, as manifests and ledgers record them."""
    return {"size": Path(path).stat().st_size, "sha256": hash_file(path)}


def hash_json(value: Any) -> str:
    """Return the SHA-256 of a JSON value, which does not depend on the order of keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()


def cache_folder() -> Path:
    """Return the folder for files that can be computed again: `$URBANKIT_CACHE`, or the user's cache folder."""
    return Path(os.environ.get("URBANKIT_CACHE") or platformdirs.user_cache_dir("urbankit"))
