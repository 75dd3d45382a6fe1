"""Where the jobs of a suite are computed: in processes of this machine, on a Dask cluster, or by SLURM.

On other machines a job is the same worker process (`urbankit.bench.worker`). It waits for the lock of its run folder
and continues the run there, so a job that is lost can be given to another machine.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from urbankit.bench.pool import Job, Outcome, run_jobs
from urbankit.utils.version import __version__


class Executor(Protocol):
    """Computes jobs."""

    @property
    def at_once(self) -> int:
        """The number of jobs at a time, for an estimate of the time left."""

    def run(self, jobs: Sequence[Job], lock: int | None) -> Iterator[Outcome]:
        """Yield outcomes as jobs end; if the iteration is left, the jobs save their epoch and stop.

        `lock` is the descriptor of the lock of the suite's folder, which processes of this machine inherit; None on a
        file system without locks.
        """


@dataclass(frozen=True)
class ThisMachine:
    """Computes jobs in processes of this machine."""

    at_once: int = 1

    def run(self, jobs: Sequence[Job], lock: int | None) -> Iterator[Outcome]:
        """As in `Executor`."""
        return run_jobs(jobs, self.at_once, [] if lock is None else [lock])


@dataclass(frozen=True)
class Elsewhere:
    """A job that is computed on another machine.

    Attributes:
        job: The job, with absolute paths.
        directory: The working folder, which relative paths of recipes start from.
        version: The version of urbankit that the results are stored under.
    """

    job: Job
    directory: Path
    version: str = __version__

    @classmethod
    def of(cls, job: Job) -> Elsewhere:
        """The job of a suite that runs in the present folder."""
        return cls(Job(job.kind, job.recipe, job.out.resolve(), job.log.resolve()), Path.cwd())

    def compute(self, at_once: int = 1, stopping: Callable[[], bool] = lambda: False) -> Outcome:
        """Compute the job on this machine, which does `at_once` jobs at a time, until `stopping` returns True."""
        job, started = self.job, time.monotonic()
        if __version__ != self.version:
            errors = [f"{socket.gethostname()} has urbankit {__version__}, the suite {self.version}; install the same"]
        elif not job.log.parent.is_dir():
            errors = [f"{socket.gethostname()} does not see {job.log.parent}; choose an --out that all machines share"]
        elif stopping():
            return Outcome(job, 0.0, ["interrupted"], interrupted=True)
        else:
            [outcome] = run_jobs([job], 1, share=at_once, directory=self.directory, stopping=stopping)
            return outcome
        return Outcome(job, time.monotonic() - started, errors)
