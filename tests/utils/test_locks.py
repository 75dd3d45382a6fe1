"""Locks between processes, also on a file system that has none."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
from pathlib import Path

import pytest

from urbankit.utils import locks
from urbankit.utils.locks import LOCK, LOCKS, file_lock, in_use


@pytest.fixture(params=[errno.ENOSYS, errno.ENOLCK, errno.ENOTSUP], ids=errno.errorcode.get)
def without_locks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let `flock` fail as on a shared folder without locks."""

    def flock(descriptor: int, operation: int) -> None:
        raise OSError(request.param, os.strerror(request.param))

    monkeypatch.setattr(fcntl, "flock", flock)


def holder(folder: Path, pid: int, host: str) -> Path:
    """The file of a lock that process `pid` of the machine `host` holds."""
    path = folder / LOCKS[1]
    path.write_text(f"{pid}\n{host}\n")
    return path


def test_lock_is_held_by_one_at_a_time(tmp_path: Path) -> None:
    with file_lock(tmp_path / LOCK) as descriptor:
        assert isinstance(descriptor, int)
        with pytest.raises(BlockingIOError), file_lock(tmp_path / LOCK, wait=False):
            pass
    with file_lock(tmp_path / LOCK, wait=False):
        pass


@pytest.mark.usefixtures("without_locks")
def test_lock_is_held_by_one_at_a_time_on_a_file_system_without_locks(tmp_path: Path) -> None:
    with file_lock(tmp_path / LOCK) as descriptor:
        assert descriptor is None
        with pytest.raises(BlockingIOError), file_lock(tmp_path / LOCK, wait=False):
            pass
        assert f"It is process {os.getpid()} on {socket.gethostname()}" in str(in_use(tmp_path, "run"))
    assert not (tmp_path / LOCKS[1]).exists()
    with file_lock(tmp_path / LOCK, wait=False):
        pass


@pytest.mark.usefixtures("without_locks")
def test_lock_of_another_machine_stays_until_its_file_is_removed(tmp_path: Path) -> None:
    path = holder(tmp_path, 2**22 + 1, "another-machine")
    with pytest.raises(BlockingIOError), file_lock(tmp_path / LOCK, wait=False):
        pass
    message = str(in_use(tmp_path, "run"))
    assert "another run uses this folder" in message and "on another-machine" in message
    assert f"if this process no longer runs, remove {path}" in message
    path.unlink()
    with file_lock(tmp_path / LOCK, wait=False):
        pass


class Told(Exception):
    """Ends the waiting of a test, with the sentence that the user gets."""


def tell(line: str) -> None:
    raise Told(line)


def test_user_is_told_what_a_process_waits_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "PATIENCE", 0.1)
    with file_lock(tmp_path / LOCK), pytest.raises(Told) as told, file_lock(tmp_path / LOCK, say=tell):
        pass
    assert str(told.value) == f"waiting for another process that uses {tmp_path}."


@pytest.mark.usefixtures("without_locks")
def test_user_is_told_which_machine_a_process_waits_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "PATIENCE", 0.1)
    path = holder(tmp_path, 2**22 + 1, "another-machine")
    with pytest.raises(Told, match="on another-machine") as told, file_lock(tmp_path / LOCK, say=tell):
        pass
    assert f"remove {path}." in str(told.value)
