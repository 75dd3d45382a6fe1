"""The manifest of a run: versions, seeds, hashes, device, and the time of each stage."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path
from typing import Any

from urbankit import registry
from urbankit.recipe.recipe import Recipe
from urbankit.utils.files import hash_json, write_json
from urbankit.utils.progress import Progress

MANIFEST = "manifest.json"
COPY = "manifest-copy.json"

LIBRARIES = (
    "torch", "dgl", "transformers", "numpy", "scipy", "scikit-learn", "pandas", "polars", "pyarrow", "geopandas",
    "rasterio", "exactextract",
)  # fmt: skip


class Manifest:
    """The manifest of a run that is being computed; `write` puts it into `manifest.json` of the run folder.

    Attributes:
        folder: The run folder.
        values: What `manifest.json` holds.
        previous: The manifest as it was before this run was resumed; None for a new run.
        finished: Whether the results are complete; only the report may be missing then.
    """

    def __init__(self, folder: Path, values: dict[str, Any], previous: dict[str, Any] | None = None) -> None:
        self.folder, self.values, self.previous = folder, values, previous
        self.finished = False

    def write(self) -> None:
        """Write `manifest.json` and its copy, which is read if the manifest is damaged."""
        for name in (MANIFEST, COPY):
            write_json(self.folder / name, self.values)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Add the time of the block to the seconds of the stage `name`, and write the manifest after it."""
        started = time.perf_counter()
        yield
        seconds = self.values["seconds"]
        seconds[name] = round(seconds.get(name, 0.0) + time.perf_counter() - started, 2)
        self.write()

    def note(self, notes: Sequence[str], progress: Progress) -> None:
        """Add notes for the user, and show them."""
        self.values["notes"] += notes
        for note in notes:
            progress.say(f"note: {note}")

    def end(self, status: str) -> None:
        """Write the final status: `done`, `interrupted` or `failed`."""
        self.values["status"] = status
        self.write()
        self.finished = status == "done"


def new_manifest(recipe: Recipe) -> dict[str, Any]:
    """The values of the manifest of a run that starts now."""
    return {
        "status": "running",
        "recipe": recipe.name,
        "recipe_hash": recipe_hash(recipe),
        "seed": recipe.seed,
        "seeds": recipe.evaluation.seeds,
        "started": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "versions": versions(),
        "plugins": {entry.distribution: entry.version for entry in registry.entries()},
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpus": os.cpu_count(),
        "seconds": {},
        "training": {},
        "notes": [],
    }


def recipe_hash(recipe: Recipe) -> str:
    """The content hash of a resolved recipe, without its trackers, which change no number."""
    return hash_json(recipe.model_dump(mode="json", exclude={"tracking"}))


def versions() -> dict[str, str | None]:
    """Versions of urbankit and of the libraries that affect its numbers; None for one that is not installed."""
    return {name: _version(name) for name in ("urbankit", *LIBRARIES)}


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
