"""Worker processes: several jobs at a time, and one that dies takes nothing with it but its job."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

GRACE = 60.0
"""Seconds that an interrupted job has to finish its epoch and save it."""

DYING = 10.0
"""Seconds that a process without a sound reply has to be gone by itself."""

THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "LOKY_MAX_CPU_COUNT")


@dataclass(frozen=True)
class Job:
    """What a worker is asked: `kind` is `run` or `floors`, `recipe` YAML, `out` where to, `log` for what it prints."""

    kind: str
    recipe: str
    out: Path
    log: Path

    def line(self) -> str:
        return json.dumps({"kind": self.kind, "recipe": self.recipe, "out": str(self.out), "log": str(self.log)}) + "\n"


@dataclass(frozen=True)
class Outcome:
    """How a job ended: no `errors` where well. `died` where its process did, `interrupted` where it was stopped; not
    `resumable` where the job's own words are at fault, so that going on would end in the same."""

    job: Job
    seconds: float
    errors: list[str] = field(default_factory=list)
    died: bool = False
    interrupted: bool = False
    resumable: bool = True


def work(jobs: Sequence[Job], at_once: int, inherited: Iterable[IO[str]] = ()) -> Iterator[Outcome]:
    """Do the jobs in order, `at_once` at a time; outcomes come as jobs end.

    Workers keep the files of `inherited` open. When the iteration is left, by Ctrl-C for one, workers end the epoch
    they are in, save it and stop.
    """
    waiting: queue.Queue[Job] = queue.Queue()
    for job in jobs:
        waiting.put(job)
    ended: queue.Queue[Outcome] = queue.Queue()
    workers = [_Worker(waiting, ended, _threads(at_once), inherited) for _ in range(min(at_once, len(jobs)))]
    try:
        for worker in workers:
            worker.start()
        for _ in jobs:
            yield ended.get()
    finally:
        with suppress(queue.Empty):
            while True:
                waiting.get_nowait()
        for worker in workers:
            worker.stop()
        for worker in workers:
            worker.wait()


def cores() -> int:
    """The processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _threads(at_once: int) -> dict[str, str]:
    """An equal share of the processors for each worker, where the user has not said otherwise."""
    share = str(max(1, cores() // at_once))
    return {name: os.environ.get(name, share) for name in THREADS}


class _Worker(threading.Thread):
    """A thread that hands jobs to a process, and starts another when that has died."""

    def __init__(
        self,
        waiting: queue.Queue[Job],
        ended: queue.Queue[Outcome],
        environment: dict[str, str],
        inherited: Iterable[IO[str]],
    ) -> None:
        super().__init__(daemon=True)
        self._waiting, self._ended = waiting, ended
        self._environment = os.environ | environment
        self._inherited = tuple(stream.fileno() for stream in inherited)
        self._process: subprocess.Popen[str] | None = None
        self._stopping = False

    def run(self) -> None:
        with suppress(queue.Empty):
            while not self._stopping:
                self._ended.put(self._do(self._waiting.get_nowait()))
        if self._process is not None and self._process.stdin is not None:
            with suppress(BrokenPipeError):
                self._process.stdin.close()
            self._process.wait()

    def stop(self) -> None:
        """Ask the job under way to save and stop."""
        self._stopping = True
        if self._process is not None:
            self._process.terminate()

    def wait(self) -> None:
        """Wait until it has stopped; a job that does not stop in time is killed."""
        self.join(GRACE)
        if self.is_alive() and self._process is not None:
            self._process.kill()
            self.join()

    def _do(self, job: Job) -> Outcome:
        """The outcome of a job, whatever happens to its process: the bench waits for one of every job."""
        started = time.monotonic()
        try:
            answer = self._answer(job)
        except Exception as error:
            errors = [f"its process could not be started or spoken to: {error}"]
            return Outcome(job, time.monotonic() - started, errors, True, self._stopping)
        seconds = time.monotonic() - started
        if isinstance(answer, int):
            return Outcome(job, seconds, [_death(answer), *_last_lines(job.log)], True, self._stopping)
        return Outcome(job, seconds, answer["error"], False, answer["interrupted"], answer["resumable"])

    def _answer(self, job: Job) -> dict[str, Any] | int:
        """What the process says of the job, or the status it ended with."""
        process = self._process = self._running()
        assert process.stdin is not None and process.stdout is not None
        try:
            process.stdin.write(job.line())
            process.stdin.flush()
            return json.loads(process.stdout.readline())
        except (BrokenPipeError, ValueError):  # no reply, or one that a kill cut short
            return _status(process)

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
            pass_fds=self._inherited if os.name == "posix" else (),
            start_new_session=True,  # Ctrl-C reaches the bench alone, which tells its workers
        )


def _status(process: subprocess.Popen[str]) -> int:
    """What the process ended with; one that goes on after a broken reply is ended."""
    try:
        return process.wait(DYING)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()


def _death(status: int) -> str:
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
