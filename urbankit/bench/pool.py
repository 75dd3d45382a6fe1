"""Worker processes for several jobs at a time; a process that dies fails only its own job."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

GRACE = 60.0
"""Seconds that an interrupted job has to finish and save its epoch."""

EXIT_TIMEOUT = 10.0
"""Seconds that a process without a valid reply has to exit."""

THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "LOKY_MAX_CPU_COUNT")


@dataclass(frozen=True)
class Job:
    """What a worker process computes.

    Attributes:
        kind: `run` or `floors`.
        recipe: The resolved recipe as YAML.
        out: The run folder, or the Parquet file of floors.
        log: The file for what the job prints.
    """

    kind: str
    recipe: str
    out: Path
    log: Path

    def line(self) -> str:
        """The job as a line of JSON."""
        return json.dumps({"kind": self.kind, "recipe": self.recipe, "out": str(self.out), "log": str(self.log)}) + "\n"


@dataclass(frozen=True)
class Outcome:
    """How a job ended.

    Attributes:
        job: The job.
        seconds: How long it took.
        errors: What went wrong; empty if nothing did.
        died: Whether its process died.
        interrupted: Whether it was stopped.
        resumable: Whether it can be resumed; not if its recipe is the reason of the error.
    """

    job: Job
    seconds: float
    errors: list[str] = field(default_factory=list)
    died: bool = False
    interrupted: bool = False
    resumable: bool = True


def run_jobs(
    jobs: Sequence[Job],
    at_once: int,
    inherited: Iterable[int] = (),
    *,
    share: int | None = None,
    directory: Path | None = None,
    stopping: Callable[[], bool] | None = None,
) -> Iterator[Outcome]:
    """Run the jobs in order, `at_once` at a time, and yield outcomes as jobs end.

    If the iteration is left, for example by Ctrl-C, the workers finish their epoch, save it and stop.

    Args:
        jobs: The jobs.
        at_once: How many at a time.
        inherited: Files that worker processes keep open.
        share: Into how many shares the processors are divided, one for each job; by default `at_once`.
        directory: The working folder of the worker processes; by default that of this process.
        stopping: Asked every second; once it returns True, the running jobs are stopped, and have outcomes.
    """
    queued: queue.Queue[Job] = queue.Queue()
    for job in jobs:
        queued.put(job)
    ended: queue.Queue[Outcome] = queue.Queue()
    environment = _threads(share or at_once)
    workers = [_Worker(queued, ended, environment, inherited, directory) for _ in range(min(at_once, len(jobs)))]
    try:
        for worker in workers:
            worker.start()
        for _ in jobs:
            yield ended.get() if stopping is None else _next(ended, workers, stopping)
    finally:
        with suppress(queue.Empty):
            while True:
                queued.get_nowait()
        for worker in workers:
            worker.stop()
        for worker in workers:
            worker.wait()


def _next(ended: queue.Queue[Outcome], workers: list[_Worker], stopping: Callable[[], bool]) -> Outcome:
    """The outcome of the next job that ends, which is stopped where `stopping` says so."""
    stopped = False
    while True:
        with suppress(queue.Empty):
            return ended.get(timeout=1.0)
        if not stopped and stopping():
            stopped = True
            for worker in workers:
                worker.stop()


def cores() -> int:
    """The number of processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _threads(at_once: int) -> dict[str, str]:
    """Environment variables that give each worker an equal share of the processors, unless the user has set them."""
    share = str(max(1, cores() // at_once))
    return {name: os.environ.get(name, share) for name in THREADS}


class _Worker(threading.Thread):
    """A thread that sends jobs to a process, and starts another process if that has died."""

    def __init__(
        self,
        queued: queue.Queue[Job],
        ended: queue.Queue[Outcome],
        environment: dict[str, str],
        inherited: Iterable[int],
        directory: Path | None,
    ) -> None:
        super().__init__(daemon=True)
        self._directory = directory
        self._queued, self._ended = queued, ended
        self._environment = os.environ | environment
        self._inherited = tuple(inherited)
        self._process: subprocess.Popen[str] | None = None
        self._stopping = False

    def run(self) -> None:
        """Run jobs until none is left or `stop` is called."""
        with suppress(queue.Empty):
            while not self._stopping:
                self._ended.put(self._run_job(self._queued.get_nowait()))
        if self._process is not None and self._process.stdin is not None:
            with suppress(BrokenPipeError):
                self._process.stdin.close()
            self._process.wait()

    def stop(self) -> None:
        """Ask the running job to save and stop."""
        self._stopping = True
        if self._process is not None:
            self._process.terminate()

    def wait(self) -> None:
        """Wait until the thread has ended; a job that does not stop in time is killed."""
        self.join(GRACE)
        if self.is_alive() and self._process is not None:
            self._process.kill()
            self.join()

    def _run_job(self, job: Job) -> Outcome:
        """The outcome of a job, also if its process dies: the bench waits for an outcome of every job."""
        started = time.monotonic()
        try:
            reply = self._send(job)
        except Exception as error:
            errors = [f"its process could not be started or reached: {error}"]
            return Outcome(job, time.monotonic() - started, errors, True, self._stopping)
        seconds = time.monotonic() - started
        if isinstance(reply, int):
            return Outcome(job, seconds, [_describe_status(reply), *_last_lines(job.log)], True, self._stopping)
        return Outcome(job, seconds, reply["error"], False, reply["interrupted"], reply["resumable"])

    def _send(self, job: Job) -> dict[str, Any] | int:
        """The reply of the process, or its exit status if it has ended without one."""
        process = self._process = self._running()
        assert process.stdin is not None and process.stdout is not None
        try:
            process.stdin.write(job.line())
            process.stdin.flush()
            return json.loads(process.stdout.readline())
        except (BrokenPipeError, ValueError):  # no reply, or an incomplete one
            return _exit_status(process)

    def _running(self) -> subprocess.Popen[str]:
        if self._process is not None and self._process.poll() is None:
            return self._process
        return subprocess.Popen(
            [sys.executable, "-m", "urbankit.bench.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            env=self._environment,
            cwd=self._directory,
            pass_fds=self._inherited if os.name == "posix" else (),
            start_new_session=True,  # Ctrl-C reaches only the bench, which stops its workers
        )


def _exit_status(process: subprocess.Popen[str]) -> int:
    """The exit status of the process; it is killed if it does not exit by itself."""
    try:
        return process.wait(EXIT_TIMEOUT)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()


def _describe_status(status: int) -> str:
    if status >= 0:
        return f"its process ended with status {status}"
    try:
        name = signal.Signals(-status).name
    except ValueError:  # a real-time signal has none
        name = f"signal {-status}"
    hint = "; memory may have run out: fewer --jobs, or smaller batches" if -status == signal.SIGKILL else ""
    return f"its process was killed by {name}{hint}"


def _last_lines(log: Path, most: int = 3) -> list[str]:
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines() if log.is_file() else []
    return [line for line in lines if line.strip()][-most:]
