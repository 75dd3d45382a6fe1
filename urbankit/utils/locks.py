"""Locks between processes, each a file."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]  # the functions below then lock nothing

LOCK = ".urbankit-lock"
"""Name of the file that is locked while a process writes into its folder."""

MAX_DESCRIPTOR = 512
"""Files with higher descriptors are not locked: a process often may open only 1,024 files."""


@contextmanager
def file_lock(path: str | Path, *, wait: bool = True) -> Iterator[int]:
    """Hold the lock file `path`, for which other processes and threads then wait.

    The end of the process releases the lock, also if it is killed. The holder may remove the file and its folder; those
    that wait then make it anew.

    Yields:
        The file descriptor of the lock. A subprocess that inherits it holds the lock as well if this process is killed.

    Raises:
        BlockingIOError: The lock is held and `wait` is False.
    """
    path = Path(path)
    descriptors: list[int] = []
    lock = FileLock(path, thread_local=False, on_acquired=descriptors.append)
    while not lock.is_locked:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with suppress(FileNotFoundError):  # the holder removed the folder
                lock.acquire(timeout=-1 if wait else 0)
        except Timeout:
            raise BlockingIOError(f"{path} is locked") from None
    try:
        yield descriptors[-1]
    finally:
        lock.release()


def lock_while_open(descriptor: int) -> bool:
    """Lock an open file until its descriptor is closed; return whether that was possible."""
    if fcntl is None or descriptor > MAX_DESCRIPTOR:
        return False
    with suppress(OSError):
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    return False


def is_locked_open(path: Path) -> bool:
    """Whether some process has the file open and locked it with `lock_while_open`; True where that is not known."""
    if fcntl is None:
        return True
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return False
