"""The conformance checks of a tracker."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

from urbankit.testing.candidate import Candidate, Check
from urbankit.tracking.base import Loss, Score, TrackedRun

LOSSES = [
    Loss("pretrain", epoch, part, "total", 1.0 / (1 + epoch)) for epoch in (0, 1) for part in ("train", "validation")
]
SCORES = [Score("co", model, "random", seed, "r2", 0.5) for model in ("method", "floor:mean") for seed in (0, 1)]


def names_its_package(candidate: Candidate) -> Iterator[str]:
    """`requires` is None, or the module that it imports and what pip installs it by."""
    requires = candidate.component.requires
    if requires is not None and not (
        isinstance(requires, tuple) and len(requires) == 2 and all(isinstance(one, str) and one for one in requires)
    ):
        yield f"`requires` is {requires!r}; give the module and the package: ('mlflow', 'mlflow-skinny')"


def continues_a_run(candidate: Candidate) -> Iterator[str]:
    """It takes losses, scores and files, and continues a run by its id."""
    if not candidate.component.is_installed():
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "report.html").write_text("<html></html>")
        run = TrackedRun(folder.name, folder, {"seed": 0, "method.name": "method"}, "seed: 0\n")
        started = _send(candidate, run, "interrupted")
        if not isinstance(started, str) or not started:
            yield f"start() returns {started!r}; return a text that identifies the run in the tracker"
            return
        resumed = _send(candidate, TrackedRun(run.name, folder, run.recipe, run.text, started), "done")
        if resumed != started:
            yield f"start() returns {resumed!r} for a run of the id {started!r}; continue that run and return its id"


def _send(candidate: Candidate, run: TrackedRun, status: str) -> object:
    tracker = candidate.create()
    identity = tracker.start(run)
    tracker.log_losses(LOSSES)
    tracker.log_scores(SCORES)
    tracker.log_files([run.folder / "report.html"])
    tracker.end(status)
    return identity


CHECKS: tuple[Check, ...] = (names_its_package, continues_a_run)
