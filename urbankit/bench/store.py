"""The folder of a bench: runs are found by a content hash of everything that their numbers depend on."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from urbankit import registry
from urbankit.bench.suite import SuiteRun
from urbankit.city.city import City
from urbankit.pipeline.model import Model
from urbankit.pipeline.resume import is_finished, previous_manifest, run_lock
from urbankit.pipeline.transfer.source import Source
from urbankit.recipe.components import components
from urbankit.recipe.recipe import Recipe
from urbankit.runs.files_read import files_read
from urbankit.runs.manifest import recipe_hash
from urbankit.utils.errors import Problem, UserError
from urbankit.utils.files import hash_json
from urbankit.utils.hashes import cached_hash
from urbankit.utils.locks import LOCK
from urbankit.utils.removal import remove_partial_files, remove_recorded
from urbankit.utils.text import list_some
from urbankit.utils.version import __version__

IRRELEVANT = {"name", "description", "report", "city", "tracking"}
"""Keys of a recipe that change no number; the city enters the hash by its content."""


@dataclass(frozen=True)
class StoredRun:
    """Where a run, or the floors of a row, are stored.

    Attributes:
        key: The hash of everything that the numbers depend on; the name of the folder ends in it.
        folder: The run folder, or the Parquet file of floors.
        log: The file for what the job prints.
    """

    key: str
    folder: Path
    log: Path

    @property
    def done(self) -> bool:
        """Whether the run is finished, and none of its files was removed or cut since."""
        return is_finished(self.folder)

    def tidy(self) -> None:
        """Remove what a killed process left in a finished run: its lock and unfinished files."""
        if (self.folder / LOCK).exists():
            with suppress(UserError), run_lock(self.folder, resume=True):
                remove_partial_files(self.folder)

    def clear_unless_resumable(self, recipe: Recipe, failed: bool) -> None:
        """Remove a run that cannot be resumed: it failed because of its recipe, or its recipe was another one."""
        try:
            resumable = not failed and previous_manifest(self.folder).get("recipe_hash") == recipe_hash(recipe)
        except UserError:
            resumable = False
        if self.folder.exists() and not resumable and (remaining := remove_recorded(self.folder)):
            message = f"cannot be run again: urbankit did not write {list_some(remaining, 3)} in it; move them"
            raise UserError(Problem(message, self.folder))


class Store:
    """The folder of a bench: `runs/`, `floors/` and `logs/`; the name of each entry ends in its key.

    The names of rows are only labels: a renamed row still has its runs, and rows with the same content share them.
    """

    def __init__(self, out: Path) -> None:
        self.out = out
        self._hash = cache(cached_hash)
        self._sources: dict[Path, dict[str, Any]] = {}
        self._priors: dict[Path, str] = {}
        self._folders = {path.name.rsplit("-", 1)[-1]: path for path in sorted(out.glob("runs/*-*")) if path.is_dir()}

    def run(self, run: SuiteRun, name: str, city: City) -> StoredRun:
        """Where a run on `city` is stored; raises `UserError` if a run or model that it starts from is unusable."""
        recipe = run.recipe.model_dump(mode="json", exclude=IRRELEVANT)
        if run.recipe.transfer is not None:
            recipe["transfer"]["from"] = self._source(run.recipe.transfer.source)
        if run.recipe.prior is not None:
            recipe["prior"] = self._prior(run.recipe.prior)
        key = _key({"recipe": recipe, **self._content(run.recipe, city)})
        label = "-".join([slug(run.row), slug(name), f"seed{run.seed}", key])
        folder = self._folders.setdefault(key, self.out / "runs" / label)
        return StoredRun(key, folder, self.out / "logs" / f"{folder.name}.log")

    def floors(self, recipe: Recipe, row: str, name: str, city: City) -> StoredRun:
        """Where the floors of a recipe are stored, one Parquet file; they depend on data, tasks and splits alone."""
        content = recipe.model_dump(mode="json", include={"modalities", "views", "tasks", "evaluation"})
        key = _key({"floors": content, **self._content(recipe, city)})
        label = "-".join([slug(row), slug(name), key])
        files = sorted(self.out.glob(f"floors/*-{key}.parquet")) or [self.out / "floors" / f"{label}.parquet"]
        return StoredRun(key, files[0], self.out / "logs" / f"floors-{label}.log")

    def _content(self, recipe: Recipe, city: City) -> dict[str, Any]:
        """The content of the city and of files that components read beside it, and the versions of the code."""
        try:
            files: Any = {key: [*read.values()] for key, read in files_read(recipe, city, self._hash).items()}
        except (UserError, OSError) as error:  # the run itself reports it
            files = str(error)
        facts = {"city": city.content_hash, "versions": _versions(recipe)}
        return facts | ({"files": files} if files else {})

    def _source(self, folder: Path) -> dict[str, Any]:
        """The content of a run that weights are loaded from: its folder may be moved or later hold another run."""
        if folder not in self._sources:
            facts = Source(folder).facts()
            self._sources[folder] = {name: facts[name] for name in ("recipe_hash", "city_hash", "checkpoint")}
        return self._sources[folder]

    def _prior(self, folder: Path) -> str:
        """The content of a model that heads start from."""
        if folder not in self._priors:
            self._priors[folder] = Model.open(folder).content_hash
        return self._priors[folder]


def has_runs(out: Path, city: str) -> bool:
    """Whether the folder of a bench has runs on a city."""
    return any(out.glob(f"runs/*-{slug(city)}-seed*"))


def slug(name: str) -> str:
    """A name as part of a file name: `w/o text` becomes `w-o-text`, `α = 0.2` becomes `alpha-0.2`."""
    letters = (
        unicodedata.name(c).split()[-1].lower() if "GREEK" in unicodedata.name(c, "") else c
        for c in unicodedata.normalize("NFKD", name)
    )
    return re.sub(r"[^a-z0-9.]+", "-", "".join(letters).lower()).strip("-.")[:40] or "row"


def _versions(recipe: Recipe) -> Mapping[str, Any]:
    """Versions of urbankit and of the distributions of the components in the recipe."""
    origins = {(entry.kind, entry.name): (entry.distribution, entry.version) for entry in registry.entries()}
    used = [one for one in components(recipe) if one.kind != "tracker"]
    return {"urbankit": __version__, **dict(origins[one.kind, one.use.name] for one in used)}


def _key(content: Mapping[str, Any]) -> str:
    return hash_json(content)[:12]
