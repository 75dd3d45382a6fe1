"""The worker process: it runs jobs one after another, so that imports happen once; see `urbankit.bench.pool`.

Jobs arrive as JSON lines on standard input, replies leave as JSON lines on standard output. What a job prints goes to
its log. The process ends when its input ends, so that it does not outlive the bench that started it.
"""

from __future__ import annotations

import json
import os
import queue
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import pandas as pd

from urbankit.pipeline import run as pipeline
from urbankit.pipeline.resume import is_finished
from urbankit.recipe.recipe import Recipe
from urbankit.registry.failure import explained
from urbankit.runs import data
from urbankit.runs.manifest import MANIFEST
from urbankit.utils.errors import Diverged, UserError, explain
from urbankit.utils.files import atomic_path
from urbankit.utils.locks import LOCK, file_lock
from urbankit.utils.progress import Progress


def main() -> None:
    """Run jobs until the input ends."""
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as replies:
        for job in _jobs():
            with Path(job["log"]).open("a", encoding="utf-8") as log:
                print(json.dumps(_run_job(job, log)), file=replies, flush=True)


def _jobs() -> Iterator[dict[str, Any]]:
    """Yield jobs as they arrive. A thread reads them, to notice the end of the input also while a job is running."""
    queued: queue.Queue[dict[str, Any]] = queue.Queue()

    def read() -> None:
        for line in sys.stdin:
            queued.put(json.loads(line))
        os._exit(0)

    threading.Thread(target=read, daemon=True).start()
    while True:
        yield queued.get()


def _run_job(job: dict[str, Any], log: IO[str]) -> dict[str, Any]:
    for stream in (1, 2):
        os.dup2(log.fileno(), stream)
    try:
        JOBS[job["kind"]](Recipe.from_yaml(job["recipe"]), Path(job["out"]))
    except KeyboardInterrupt:
        return _reply(["interrupted"], interrupted=True)
    except (Exception, SystemExit) as raised:
        error = explained(raised)
        traceback.print_exc()
        errors = [line.removeprefix("error: ") for line in explain(error)[1]]
        return _reply(errors, resumable=not isinstance(error, UserError | Diverged))
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
    return _reply([])


def _reply(errors: list[str], *, interrupted: bool = False, resumable: bool = True) -> dict[str, Any]:
    return {"error": errors, "interrupted": interrupted, "resumable": resumable}


def run(recipe: Recipe, out: Path) -> None:
    """Run the recipe in folder `out`, or resume the run in it, unless another process finishes it meanwhile.

    A machine that a cluster has lost sight of may still work in the folder.
    """
    if out.is_dir():
        with file_lock(out / LOCK, say=Progress().say):
            pass
    if is_finished(out):
        return
    pipeline.run(recipe, out, resume=(out / MANIFEST).exists(), progress=Progress())


def floors(recipe: Recipe, out: Path) -> None:
    """Write the metric records of the floors of the recipe to the Parquet file `out`."""
    city = data.prepare_city(recipe)
    tasks, splits = data.load_tasks(recipe, city), data.make_splits(recipe, city)
    scored = data.run_floors(recipe, city, tasks, splits, Progress())
    with atomic_path(out) as temporary:
        pd.DataFrame(scored.records).to_parquet(temporary, index=False)


JOBS: dict[str, Callable[[Recipe, Path], None]] = {"run": run, "floors": floors}

if __name__ == "__main__":
    main()
