"""Files that appear whole or not at all, and the hashes that identify them."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import platformdirs

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

FULL = 1 << 16
"""Bytes that are left on a full disk, at most: less than libraries write at once."""


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """A temporary path beside `path` to write to; it replaces `path` when the block ends well, else vanishes.

    A full disk is an `OSError` with `ENOSPC` and the file's name, whichever library was writing.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}-", suffix=path.suffix)
    os.close(handle)
    temporary = Path(name)
    temporary.chmod(0o666 & ~_UMASK)
    try:
        yield temporary
        with temporary.open("rb") as stream:
            os.fsync(stream.fileno())
        temporary.replace(path)
    except Exception as error:
        if _is_full(path.parent, error):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path)) from error
        raise
    finally:
        temporary.unlink(missing_ok=True)


def _is_full(folder: Path, error: Exception) -> bool:
    """Whether `error` is that of a full disk, which numpy, SQLite and GDAL each say in other words."""
    said = os.strerror(errno.ENOSPC), "disk is full"
    if getattr(error, "errno", None) == errno.ENOSPC or any(text in str(error) for text in said):
        return True
    return isinstance(error, OSError | RuntimeError) and shutil.disk_usage(folder).free < FULL


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


_UMASK = _umask()


@contextmanager
def file_lock(path: str | Path, *, wait: bool = True) -> Iterator[IO[str]]:
    """Holds the lock file `path`, which other processes then wait for; without `wait`, `BlockingIOError` if it is held.

    The lock lasts as long as the file that is yielded is open here or in a process that inherited it, so a kill
    releases it. Who holds it may remove it, with its folder too. Systems without `fcntl` (Windows) lock nothing.
    """
    path = Path(path)
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8") as stream:
            if fcntl is not None:
                fcntl.flock(stream, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
                if not _is(stream, path):  # it was removed while this process waited for it
                    continue
            yield stream
            return


def _is(stream: IO[str], path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(stream.fileno()), path.stat())
    except FileNotFoundError:
        return False


def write_text(path: str | Path, text: str) -> None:
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: str | Path, value: Any) -> None:
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: str | Path) -> Any:
    return json.loads(Path(path).read_text(encoding="utf-8"))


def hash_file(path: str | Path) -> str:
    """SHA-256 of a file's bytes, in hex."""
    with Path(path).open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest() if hasattr(hashlib, "file_digest") else _digest(stream)


def _digest(stream: Any) -> str:
    digest = hashlib.sha256()
    while block := stream.read(1 << 20):
        digest.update(block)
    return digest.hexdigest()


def hash_json(value: Any) -> str:
    """SHA-256 of a JSON value, independent of key order."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()


def cache_folder() -> Path:
    """`$URBANKIT_CACHE`, or the user's cache folder for urbankit."""
    return Path(os.environ.get("URBANKIT_CACHE") or platformdirs.user_cache_dir("urbankit"))
