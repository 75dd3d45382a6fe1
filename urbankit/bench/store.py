"""Where a suite's runs are kept: folders that are found by the content of what they computed."""

from __future__ import annotations

import re
import shutil
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from urbankit import registry
from urbankit.bench.suite import SuiteRun
from urbankit.city.city import City
from urbankit.pipeline.transfer.source import Source
from urbankit.recipe.components import components
from urbankit.recipe.recipe import Recipe
from urbankit.runs.data import files_read
from urbankit.runs.folder import Run
from urbankit.runs.manifest import recipe_hash
from urbankit.utils.errors import UserError
from urbankit.utils.files import hash_json
from urbankit.utils.hashes import cached_hash
from urbankit.utils.version import __version__

IRRELEVANT = {"name", "description", "report", "city"}
"""Keys of a recipe that change no number; of the city it is the content that counts."""


@dataclass(frozen=True)
class StoredRun:
    """A cell's run: its `key` is a hash of all that its numbers depend on, and the last part of its folder's name."""

    key: str
    folder: Path
    log: Path

    @property
    def done(self) -> bool:
        try:
            return Run.open(self.folder).status == "done"
        except UserError:
            return False

    def clear_unless_resumable(self, recipe: Recipe, failed: bool) -> None:
        """Remove a run that cannot go on: one that failed by its own fault, or was of other words."""
        try:
            resumable = not failed and Run.open(self.folder).manifest.get("recipe_hash") == recipe_hash(recipe)
        except UserError:
            resumable = False
        if self.folder.exists() and not resumable:
            shutil.rmtree(self.folder)


class Store:
    """The folder of a bench: `runs/`, `floors/` and `logs/`, each entry ending in its key.

    What a row is called is for people: a row that is renamed finds its runs, and rows of one
    content share them.
    """

    def __init__(self, out: Path) -> None:
        self.out = out
        self._hash = cache(cached_hash)
        self._sources: dict[Path, dict[str, Any]] = {}
        self._folders = {path.name.rsplit("-", 1)[-1]: path for path in sorted(out.glob("runs/*-*")) if path.is_dir()}

    def run(self, cell: SuiteRun, name: str, city: City) -> StoredRun:
        """The run of a cell on a city of this content; `UserError` where a run that it transfers from is no good."""
        recipe = cell.recipe.model_dump(mode="json", exclude=IRRELEVANT)
        if cell.recipe.transfer is not None:
            recipe["transfer"]["from"] = self._source(cell.recipe.transfer.source)
        key = _key({"recipe": recipe, **self._read(cell.recipe, city)})
        label = "-".join([slug(cell.row), slug(name), f"seed{cell.seed}", key])
        folder = self._folders.setdefault(key, self.out / "runs" / label)
        return StoredRun(key, folder, self.out / "logs" / f"{folder.name}.log")

    def floors(self, recipe: Recipe, row: str, name: str, city: City) -> StoredRun:
        """The floors of a recipe, a Parquet file: they depend on inputs, tasks and splits alone."""
        seen = recipe.model_dump(mode="json", include={"modalities", "views", "tasks", "evaluation"})
        key = _key({"floors": seen, **self._read(recipe, city)})
        label = "-".join([slug(row), slug(name), key])
        found = next(iter(sorted(self.out.glob(f"floors/*-{key}.parquet"))), self.out / "floors" / f"{label}.parquet")
        return StoredRun(key, found, self.out / "logs" / f"floors-{label}.log")

    def _read(self, recipe: Recipe, city: City) -> dict[str, Any]:
        """What a recipe is computed from and by: content of its city, and of files beside it where it reads any."""
        try:
            files: Any = {key: [*read.values()] for key, read in files_read(recipe, city, self._hash).items()}
        except (UserError, OSError) as error:  # which the run will tell of
            files = str(error)
        facts = {"city": city.content_hash, "versions": _versions(recipe)}
        return facts | ({"files": files} if files else {})

    def _source(self, folder: Path) -> dict[str, Any]:
        """What a run hands on, by content: it may be moved, and its folder may come to hold another run."""
        if folder not in self._sources:
            facts = Source(folder).facts()
            self._sources[folder] = {name: facts[name] for name in ("recipe_hash", "city_hash", "checkpoint")}
        return self._sources[folder]


def has_runs(out: Path, city: str) -> bool:
    """Whether there are runs on a city in the folder of a bench."""
    return any(out.glob(f"runs/*-{slug(city)}-seed*"))


def slug(name: str) -> str:
    """A name as part of a file's name: `w/o text` becomes `w-o-text`, `α = 0.2` becomes `alpha-0.2`."""
    letters = (
        unicodedata.name(c).split()[-1].lower() if "GREEK" in unicodedata.name(c, "") else c
        for c in unicodedata.normalize("NFKD", name)
    )
    return re.sub(r"[^a-z0-9.]+", "-", "".join(letters).lower()).strip("-.")[:40] or "row"


def _versions(recipe: Recipe) -> Mapping[str, Any]:
    """Versions of urbankit and of the distributions that bring the recipe's components."""
    origins = {(entry.kind, entry.name): (entry.distribution, entry.version) for entry in registry.entries()}
    return {"urbankit": __version__, **dict(origins[used.kind, used.use.name] for used in components(recipe))}


def _key(content: Mapping[str, Any]) -> str:
    return hash_json(content)[:12]
