"""The source of a transfer: the run whose weights are loaded."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor

from urbankit.city.city import City
from urbankit.recipe.recipe import Recipe
from urbankit.runs.data import prepare_city
from urbankit.runs.folder import Run
from urbankit.training import checkpoint
from urbankit.utils.errors import Problem, UserError
from urbankit.utils.files import hash_file
from urbankit.utils.progress import Progress

KEY = "transfer.from"


class Trained(Protocol):
    """Weights that were trained on another city: those of a run, or of a model."""

    title: str
    """What messages call it."""

    @property
    def path(self) -> Path:
        """Its folder."""
        ...

    @property
    def recipe(self) -> Recipe:
        """The recipe that it was trained with."""
        ...

    @property
    def state(self) -> Mapping[str, Tensor]:
        """The state of the method after pre-training."""
        ...

    @property
    def modalities(self) -> list[str]:
        """The modalities that it was trained with, in order."""
        ...

    @property
    def views(self) -> list[str]:
        """The views, likewise."""
        ...


class Source:
    """A finished run with its pre-trained weights, its city and its embeddings.

    Raises `UserError` if the folder is not a run, or the run is not finished, not pre-trained or damaged.
    """

    title = "the source run"

    def __init__(self, folder: Path, key: str | None = KEY) -> None:
        """Open the run in `folder`; `key` is the key of the recipe that names it, for messages."""
        self.run, self._key = Run.open(folder), key
        self._best = folder / "checkpoints" / "best.safetensors"
        if self.run.status != "done":
            raise self.wrong(f"the run is not finished (its status: {self.run.status}); resume it with --resume")
        if not self._best.is_file():
            raise self.wrong(
                "it has no pre-trained weights (pretrain.epochs: 0, or transfer.graph: keep); use another run"
            )

    @property
    def manifest(self) -> dict[str, Any]:
        """The manifest of the run."""
        return self.run.manifest

    @property
    def path(self) -> Path:
        """The folder of the run."""
        return self.run.path

    @property
    def modalities(self) -> list[str]:
        """The modalities that its city had, in the order of the method."""
        return list(self.manifest.get("modalities", self.recipe.modalities))

    @property
    def views(self) -> list[str]:
        """The views that its city had, likewise."""
        return list(self.manifest.get("views", self.recipe.views))

    @cached_property
    def recipe(self) -> Recipe:
        """The recipe of the run."""
        return self.run.recipe

    @cached_property
    def state(self) -> dict[str, Tensor]:
        """The state of the method after pre-training."""
        try:
            return checkpoint.load(self._best)[0]
        except UserError as error:
            raise self.wrong(f"its weights cannot be read ({error}); run its recipe again in another folder") from None

    def facts(self) -> dict[str, Any]:
        """What the manifest of the run that loads the weights records of them: folder, recipe, city, checkpoint."""
        recorded = {key: self.manifest.get(key) for key in ("recipe", "recipe_hash", "city", "city_hash")}
        return {"run": str(self.run.path), **recorded, "checkpoint": hash_file(self._best)}

    def city(self, progress: Progress | None = None) -> City:
        """The city of the run; raises `UserError` if it has changed since."""
        city = prepare_city(self.recipe, progress)
        if city.content_hash != self.manifest.get("city_hash"):
            raise self.wrong(f"its city, {city.name}, has changed since; run its recipe again in another folder")
        return city

    def wrong(self, message: str) -> UserError:
        """The error for a run that cannot be used."""
        return UserError(Problem(message, self.run.path, key=self._key))
