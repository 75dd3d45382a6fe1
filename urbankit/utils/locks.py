"""Locks between processes, each a file."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import BaseFileLock, FileLock, SoftFileLock, Timeout

from urbankit.utils.errors import Problem, UserError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]  # the functions below then lock nothing

LOCK = ".urbankit-lock"
"""Name of the file that is locked while a process writes into its folder."""

_HOLDER = "-holder"
"""What the name of a lock file ends in on a file system without locks."""

LOCKS = (LOCK, LOCK + _HOLDER)

MAX_DESCRIPTOR = 512
"""Files with higher descriptors are not locked: a process often may open only 1,024 files."""

NO_LOCKS = {errno.ENOSYS, errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP}
"""Errors of `flock` on a file system without locks, such as some shared folders."""

PATIENCE = 5.0
"""Seconds of waiting after which the user is told what is waited for."""


@contextmanager
def file_lock(
    path: str | Path, *, wait: bool = True, say: Callable[[str], object] | None = None
) -> Iterator[int | None]:
    """Hold the lock file `path`, for which other processes and threads then wait.

    The end of the process releases the lock, also if it is killed. The holder may remove the file and its folder; those
    that wait then make it anew. On a file system without locks the file that names the holder is the lock. The next
    process of the same machine takes it over if its holder was killed; one of another machine cannot know that.

    Args:
        path: The file, which is made.
        wait: Whether to wait for other holders.
        say: Gets a sentence if waiting takes longer than `PATIENCE`.

    Yields:
        The file descriptor of the lock. A subprocess that inherits it holds the lock as well if this process is killed.
        None on a file system without locks.

    Raises:
        BlockingIOError: The lock is held and `wait` is False.
    """
    path = Path(path)
    descriptors: list[int] = []
    lock: BaseFileLock = FileLock(path, thread_local=False, on_acquired=descriptors.append)
    timeout = PATIENCE if wait and say else -1.0 if wait else 0.0
    while not lock.is_locked:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with suppress(FileNotFoundError):  # the holder removed the folder
                lock.acquire(timeout=timeout)
        except Timeout:
            if not wait:
                raise BlockingIOError(f"{path} is locked") from None
            assert say is not None
            say(f"waiting for another process that uses {path.parent}.{_holder(path)}")
            timeout = -1.0
        except OSError as error:
            if error.errno not in NO_LOCKS or isinstance(lock, SoftFileLock):
                raise
            lock = SoftFileLock(_soft_path(path), thread_local=False)
    try:
        yield descriptors[-1] if descriptors else None
    finally:
        lock.release()


def in_use(folder: Path, what: str) -> UserError:
    """The error for a folder whose lock another process holds; `what` names that process."""
    message = f"another {what} uses this folder. Wait for it, or choose another --out.{_holder(folder / LOCK)}"
    return UserError(Problem(message, folder))


def _soft_path(path: Path) -> Path:
    # An attempt to lock `path` itself leaves an empty file, which would look like the file of a holder.
    return path.with_name(f"{path.name}{_HOLDER}")


def _holder(path: Path) -> str:
    """A sentence that names the holder of a lock file on a file system without locks, else an empty one."""
    try:
        pid, host = _soft_path(path).read_text(encoding="utf-8").split("\n")[:2]
    except (OSError, ValueError):
        return ""
    return (
        f" It is process {pid[:20]} on {host[:100]}. The file system has no locks: if this process no longer runs, "
        f"remove {_soft_path(path)}."
    )


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
