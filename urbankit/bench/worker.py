"""The process that runs cells one after another, so that imports are paid once; see `urbankit.bench.pool`.

Jobs come as JSON lines on standard input, replies go as JSON lines to standard output. What a job prints goes to its
log. The process ends when its input does, so that none outlives the bench that started it.
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
from urbankit.recipe.recipe import Recipe
from urbankit.runs import data
from urbankit.utils.errors import Diverged, UserError, explain
from urbankit.utils.files import atomic_path
from urbankit.utils.progress import Progress


def main() -> None:
    """Do jobs until there are no more."""
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as replies:
        for job in _jobs():
            with Path(job["log"]).open("a", encoding="utf-8") as log:
                print(json.dumps(_done(job, log)), file=replies, flush=True)


def _jobs() -> Iterator[dict[str, Any]]:
    """Jobs as they come. A thread reads them, to see the end of the input also while a job is being done."""
    waiting: queue.Queue[dict[str, Any]] = queue.Queue()

    def read() -> None:
        for line in sys.stdin:
            waiting.put(json.loads(line))
        os._exit(0)

    threading.Thread(target=read, daemon=True).start()
    while True:
        yield waiting.get()


def _done(job: dict[str, Any], log: IO[str]) -> dict[str, Any]:
    for stream in (1, 2):
        os.dup2(log.fileno(), stream)
    try:
        JOBS[job["kind"]](Recipe.from_yaml(job["recipe"]), Path(job["out"]))
    except KeyboardInterrupt:
        return _reply(["interrupted"], interrupted=True)
    except Exception as error:
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
    """A run of the recipe in folder `out`; goes on with what is there."""
    pipeline.run(recipe, out, resume=True, progress=Progress())


def floors(recipe: Recipe, out: Path) -> None:
    """The metric records of the recipe's floors, as the Parquet file `out`."""
    city = data.prepare_city(recipe)
    tasks, splits = data.load_tasks(recipe, city), data.make_splits(recipe, city)
    found = data.run_floors(recipe, city, tasks, splits, Progress())
    with atomic_path(out) as temporary:
        pd.DataFrame(found.records).to_parquet(temporary, index=False)


JOBS: dict[str, Callable[[Recipe, Path], None]] = {"run": run, "floors": floors}

if __name__ == "__main__":
    main()
