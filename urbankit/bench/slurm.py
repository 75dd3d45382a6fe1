"""The jobs of a suite as jobs of SLURM, which submitit submits."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from urbankit.bench.executors import Elsewhere
from urbankit.bench.pool import Job, Outcome
from urbankit.config.yaml import parse_yaml
from urbankit.utils.errors import Problem, Problems, UserError

CLUSTER = "slurm"
"""What submitit submits to; `local` starts processes of this machine instead."""

ATTEMPTS = 3
"""How often a job is submitted that ends without a result: its node failed, or its time was over."""

EVERY = 5.0
"""Seconds between two looks at the jobs."""

OF_SUBMITIT = ("nodes", "timeout_min", "mem_gb", "gpus_per_node", "cpus_per_task", "tasks_per_node")
"""The parameters that submitit names itself; the others are those of sbatch."""

DEFAULTS = {"timeout_min": 24 * 60, "name": "urbankit"}


class Slurm:
    """Computes each job as a job of SLURM. One that ends without a result is submitted again, and continues.

    Args:
        folder: Where submitit keeps its files; all nodes must share it.
        parameters: Parameters of the jobs as `KEY=VALUE`, such as `partition=gpu` or `timeout_min=600`.

    Raises:
        UserError: The package `submitit` or the command `sbatch` is missing, or a parameter is wrong.
    """

    at_once = 1_000_000  # SLURM decides

    def __init__(self, folder: Path, parameters: Sequence[str] = ()) -> None:
        try:
            import submitit  # noqa: PLC0415 - optional
        except ImportError:
            raise UserError("--executor slurm needs the package submitit: pip install 'urbankit[slurm]'") from None
        if CLUSTER == "slurm" and not (shutil.which("sbatch") and shutil.which("srun")):
            message = "--executor slurm needs the commands sbatch and srun. Run it where jobs of SLURM are submitted."
            raise UserError(message)
        self._submitit, self._folder, self._parameters = submitit, folder.resolve(), DEFAULTS | _parsed(parameters)

    def run(self, jobs: Sequence[Job], lock: int | None) -> Iterator[Outcome]:
        """Yield outcomes as jobs end; if the iteration is left, the jobs are cancelled and save their epoch."""
        executor = self._executor()
        with executor.batch():
            submitted = [executor.submit(Elsewhere.of(job).compute) for job in jobs]
        running = {job: (handle, 1) for job, handle in zip(jobs, submitted, strict=True)}
        try:
            while running:
                for job, (handle, attempt) in list(running.items()):
                    if not handle.done():
                        continue
                    outcome = self._outcome(job, handle)
                    if outcome is not None or attempt == ATTEMPTS:
                        del running[job]
                        yield outcome or Outcome(job, 0.0, [_lost(handle)], died=True)
                    else:
                        running[job] = executor.submit(Elsewhere.of(job).compute), attempt + 1
                if running:
                    time.sleep(EVERY)
        finally:
            for handle, _ in running.values():
                handle.cancel()

    def _executor(self) -> Any:
        executor = self._submitit.AutoExecutor(self._folder, cluster=CLUSTER)
        try:
            executor.update_parameters(**self._parameters)
        except (TypeError, ValueError, NameError, AssertionError) as error:
            raise UserError(Problem(str(error).splitlines()[0], "--slurm")) from None
        return executor

    def _outcome(self, job: Job, handle: Any) -> Outcome | None:
        """The outcome of a job that has ended; None if it is lost."""
        try:
            found: Outcome = handle.result()
        except self._submitit.core.utils.UncompletedJobError:
            return None
        except Exception as error:  # its function failed, for example because urbankit is not installed there
            return Outcome(job, 0.0, [str(error).strip().splitlines()[-1]])
        return replace(found, job=job)


def _lost(handle: Any) -> str:
    return f"job {handle.job_id} of SLURM ended without a result ({ATTEMPTS} attempts); see {handle.paths.stderr}"


def _parsed(parameters: Sequence[str]) -> dict[str, Any]:
    problems, values = Problems(), {}
    for parameter in parameters:
        name, equals, text = parameter.partition("=")
        if not equals or not name.isidentifier():
            problems.add("write it as key=value, such as --slurm partition=gpu", file=f"--slurm {parameter}")
            continue
        values[name if name in OF_SUBMITIT else f"{CLUSTER}_{name}"] = parse_yaml(text, f"--slurm {parameter}").plain()
    problems.raise_if_any()
    return values
