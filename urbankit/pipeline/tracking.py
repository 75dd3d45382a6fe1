"""The trackers of a run: they get every number once, and nothing that they do changes the run."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from urbankit import registry
from urbankit.recipe.components import trackers
from urbankit.recipe.recipe import Recipe
from urbankit.registry.component import Use
from urbankit.registry.contain import PluginError, contained
from urbankit.runs.manifest import Manifest
from urbankit.tracking.base import Loss, Score, TrackedRun, Tracker
from urbankit.training.seeds import generators_kept
from urbankit.utils.errors import Problems
from urbankit.utils.progress import Progress

EVERY = 5.0
"""Seconds between two times that losses are sent."""

LONGEST = 300
"""The most characters of a tracker's error that are shown."""

FILES = ("recipe.yaml", "metrics.json", "report.html", "figures/*.png")
"""What is sent at the end, of the files of the run folder."""


def check_trackers(recipe: Recipe) -> None:
    """Raise `UserError` if the package of a tracker is not installed."""
    problems = Problems()
    for use in trackers(recipe):
        tracker = registry.get("tracker", use.name)
        if not tracker.is_installed():
            module, package = tracker.requires
            problems.add(f"the tracker {use.name} needs the package {module}: pip install '{package}'", key="tracking")
    problems.raise_if_any()


@dataclass
class _Tracked:
    """A tracker, None before it is first needed, and what the manifest says of it."""

    use: Use
    entry: dict[str, Any]
    tracker: Tracker | None = None
    failed: bool = False


class Tracking:
    """Sends the numbers of a run to the trackers of its recipe.

    The manifest lists under `tracking` what each tracker has got: `run`, its id of the run, `epochs` by training,
    `scores` and `status`. It is written before the numbers are sent, so that a run that is killed and resumed sends
    none twice. A tracker is started when there is something to send.

    Args:
        recipe: The recipe.
        manifest: The manifest of the run.
        progress: Where a warning is shown.
    """

    def __init__(self, recipe: Recipe, manifest: Manifest, progress: Progress) -> None:
        self._recipe, self._manifest, self._progress = recipe, manifest, progress
        earlier = list(manifest.values.get("tracking", []))
        self._tracked = []
        for use in trackers(recipe):
            facts = {"name": use.name, "params": use.params}
            entry = next((one for one in earlier if facts.items() <= one.items()), None)
            if entry is None:
                entry = facts | {"run": None, "epochs": {}, "scores": False, "status": None}
            else:
                earlier.remove(entry)
            self._tracked.append(_Tracked(use, entry))
        if self._tracked:
            manifest.values["tracking"] = [*(one.entry for one in self._tracked), *earlier]
        self._waiting: list[Loss] = []
        self._sent = time.monotonic()

    def losses(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Send rows of `history.parquet`, those of several epochs at once; rows that were sent before are left out."""
        if not self._tracked:
            return
        self._waiting += [Loss(**row) for row in rows]
        if time.monotonic() - self._sent >= EVERY:
            self.flush()

    def flush(self) -> None:
        """Send the losses that wait."""
        losses, self._waiting, self._sent = self._waiting, [], time.monotonic()
        for one in self._tracked:
            epochs = one.entry["epochs"]
            new = [loss for loss in losses if loss.epoch >= epochs.get(loss.stage, 0)]
            if new and self._started(one):
                for loss in new:
                    epochs[loss.stage] = max(epochs.get(loss.stage, 0), loss.epoch + 1)
                self._manifest.write()
                self._call(one, "log_losses", new)

    def scores(self, records: Iterable[Mapping[str, Any]]) -> None:
        """Send rows of `metrics.parquet`, unless the run has sent its scores before."""
        self.flush()
        scores = [Score(**record) for record in records if math.isfinite(record["value"])]
        for one in self._tracked:
            if scores and not one.entry["scores"] and self._started(one):
                one.entry["scores"] = True
                self._manifest.write()
                self._call(one, "log_scores", scores)
                one.entry["scores"] = not one.failed  # a resumed run sends them when the tracker is back

    def end(self, status: str) -> None:
        """Send the files of a run that is done, and end the run in the trackers with a status of the manifest."""
        self.flush()
        for one in self._tracked:
            if one.tracker is None and (one.entry["run"] is None or one.entry["status"] == status):
                continue
            if self._started(one) and status == "done":
                folder = self._manifest.folder
                self._call(one, "log_files", [path for pattern in FILES for path in sorted(folder.glob(pattern))])
            if not one.failed:
                self._call(one, "end", status)
            one.tracker = None  # what comes after would be another part of the run
            if not one.failed:
                one.entry["status"] = status
        if self._tracked:
            self._manifest.write()

    def _started(self, one: _Tracked) -> bool:
        """Start a tracker, unless it is; whether it can be used."""
        if one.tracker is None and not one.failed:
            folder, entry = self._manifest.folder, one.entry
            text = self._recipe.to_yaml()
            run = TrackedRun(folder.resolve().name, folder, _flat(self._recipe), text, entry["run"])
            one.tracker = registry.create("tracker", one.use)
            number = self._call(one, "start", run)
            if not one.failed:
                entry["run"] = number
                self._manifest.write()
        return not one.failed

    def _call(self, one: _Tracked, method: str, *arguments: Any) -> Any:
        """Call a method of a tracker; if it raises, the run goes on without the tracker."""
        try:
            with generators_kept(), contained(f"tracker {one.use.name}", name_if_slow=False):
                return getattr(one.tracker, method)(*arguments)
        except PluginError as error:
            one.failed = True
            reason = str(error)[:LONGEST]
            self._manifest.note([f"tracking by {one.use.name} ended: {reason}; the run goes on"], self._progress)
            return None


def _flat(recipe: Recipe) -> dict[str, str | int | float | bool]:
    """The values of a recipe by dotted key."""
    flat: dict[str, str | int | float | bool] = {}

    def add(value: Any, key: str) -> None:
        if isinstance(value, dict) and value:
            for name, item in value.items():
                add(item, f"{key}.{name}" if key else name)
        else:
            flat[key] = value if isinstance(value, str | int | float | bool) else json.dumps(value)

    add(recipe.model_dump(mode="json", exclude={"name", "description", "tracking"}), "")
    return flat
