"""Worker processes that fail in every way: each job has an outcome, and the bench never waits for one that is dead."""

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from urbankit.bench import pool as workers
from urbankit.bench import worker
from urbankit.bench.pool import Job, Outcome, run_jobs
from urbankit.utils.errors import Diverged, RunError, UserError


@pytest.fixture
def jobs(tmp_path: Path) -> list[Job]:
    return [Job("run", f"name: {name}", tmp_path / name, tmp_path / f"{name}.log") for name in ("a", "b", "c")]


def outcomes(jobs: list[Job], monkeypatch, program: str) -> list[Outcome]:
    """What comes of the jobs where workers are `program`, which has read the line `job`."""
    real = subprocess.Popen
    command = [sys.executable, "-c", f"import os, sys\nfor job in sys.stdin:\n    {program}"]
    monkeypatch.setattr(workers.subprocess, "Popen", lambda _, **keys: real(command, **keys))
    return list(run_jobs(jobs, 2))


def test_process_that_cannot_be_started_is_reported_and_resumable(jobs, monkeypatch):
    def popen(*_, **__):
        raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))

    monkeypatch.setattr(workers.subprocess, "Popen", popen)
    ended = list(run_jobs(jobs, 2))
    assert {outcome.job for outcome in ended} == set(jobs)
    assert all(outcome.died and outcome.resumable and "Cannot allocate" in outcome.errors[0] for outcome in ended)


@pytest.mark.skipif(os.name != "posix", reason="needs signals")
@pytest.mark.parametrize(
    ("number", "name"), [(signal.SIGKILL, "killed by SIGKILL; memory"), (signal.SIGRTMIN + 5, "killed by signal ")]
)
def test_a_killed_worker_is_reported_with_its_signal(jobs, monkeypatch, number, name):
    program = f"sys.stdout.write('{{\"err'); sys.stdout.flush(); os.kill(os.getpid(), {int(number)})"
    ended = outcomes(jobs, monkeypatch, program)
    assert {outcome.job for outcome in ended} == set(jobs)
    assert all(outcome.died and outcome.resumable and name in outcome.errors[0] for outcome in ended)


def test_process_that_continues_after_an_invalid_reply_is_ended(jobs, monkeypatch):
    monkeypatch.setattr(workers, "EXIT_TIMEOUT", 0.1)
    ended = outcomes(jobs, monkeypatch, "print('nonsense', flush=True)")
    assert len(ended) == 3 and all(outcome.died for outcome in ended)


@pytest.mark.parametrize(
    ("error", "resumable"),
    [
        (UserError("wrong"), False),
        (Diverged("the loss is nan"), False),
        (RunError("the disk is full"), True),
        (OSError(errno.ENOSPC, "full"), True),
        (MemoryError(), True),
    ],
)
def test_only_errors_of_the_job_itself_are_not_resumable(error, resumable, monkeypatch, tmp_path):
    """As a worker replies; its streams, which go to the log, are put back."""

    def fail(*_):
        raise error

    monkeypatch.setitem(worker.JOBS, "run", fail)
    monkeypatch.setattr(worker.Recipe, "from_yaml", lambda _: None)
    streams = [os.dup(stream) for stream in (1, 2)]
    try:
        with (tmp_path / "log").open("w") as log:
            reply = worker._run_job({"kind": "run", "recipe": "", "out": str(tmp_path)}, log)
    finally:
        for stream, copy in zip((1, 2), streams, strict=True):
            os.dup2(copy, stream)
            os.close(copy)
    assert reply["resumable"] == resumable and reply["error"]
