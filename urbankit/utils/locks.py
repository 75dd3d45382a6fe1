"""Locks between processes, each a file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

LOCK = ".urbankit-lock"
"""Name of the file that is locked while a process writes into its folder."""


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
