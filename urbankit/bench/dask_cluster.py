"""The jobs of a suite on a Dask cluster."""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from urbankit.bench.executors import Elsewhere
from urbankit.bench.pool import GRACE, Job, Outcome
from urbankit.utils.errors import UserError

TIMEOUT = 10
"""Seconds in which the scheduler has to answer."""


class DaskCluster:
    """Computes jobs on a Dask cluster. The job of a worker that is lost is given to another.

    Args:
        address: The address of the scheduler, such as `tcp://10.0.0.1:8786`.

    Raises:
        UserError: The package `distributed` is missing, or no scheduler answers.
    """

    def __init__(self, address: str) -> None:
        try:
            import distributed  # noqa: PLC0415 - optional
        except ImportError:
            raise UserError("--executor dask needs the package distributed: pip install 'urbankit[dask]'") from None
        self._distributed = distributed
        logging.getLogger("distributed").setLevel(logging.CRITICAL)  # a lost connection is told by outcomes
        try:
            self._client = distributed.Client(address, timeout=TIMEOUT)
        except (OSError, ValueError, asyncio.TimeoutError):
            message = "no Dask scheduler answers. Start one with `dask scheduler`, and give the address that it prints"
            raise UserError(f"--address {address}: {message}.") from None
        self.at_once = max(1, sum(self._client.nthreads().values()))

    def run(self, jobs: Sequence[Job], lock: int | None) -> Iterator[Outcome]:
        """Yield outcomes as jobs end; if the iteration is left, the jobs save their epoch and stop."""
        client, stop = self._client, f"urbankit-stop-{uuid.uuid4().hex}"
        futures = {
            client.submit(_compute, Elsewhere.of(job), stop, key=f"urbankit-{job.out.stem}-{uuid.uuid4().hex}"): job
            for job in jobs
        }
        try:
            for future in self._distributed.as_completed(futures):
                yield _outcome(future, futures[future])
        finally:
            unfinished = [future for future in futures if not future.done()]
            if unfinished:
                self._distributed.Event(stop, client=client).set()
                try:
                    self._distributed.wait(unfinished, timeout=GRACE)
                except (OSError, asyncio.TimeoutError):
                    client.cancel(unfinished)
            client.close()


def _compute(job: Elsewhere, stop: str) -> Outcome:
    """Compute a job in a worker of the cluster, until the event `stop` is set."""
    import distributed  # noqa: PLC0415 - optional

    event = distributed.Event(stop)
    return job.compute(distributed.get_worker().state.nthreads, event.is_set)


def _outcome(future: Any, job: Job) -> Outcome:
    """The outcome of a job, also if its workers died or lack urbankit."""
    if future.status == "finished":
        found: Outcome = future.result()
        return replace(found, job=job)
    if future.status in ("cancelled", "lost"):
        return Outcome(job, 0.0, ["the connection to the scheduler of the Dask cluster was lost"], died=True)
    error = future.exception()
    if type(error).__name__ == "KilledWorker":
        return Outcome(job, 0.0, ["the workers that computed it died, again and again; see their logs"], died=True)
    return Outcome(job, 0.0, [f"a worker of the cluster could not compute it ({type(error).__name__}: {error})"])
