"""The run that hands its weights on."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any

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


class Source:
    """A finished run with its pre-trained weights, its city, and the embeddings it made of it.

    Raises `UserError` for a folder that is no run, one that is not finished, was not pre-trained, or is damaged.
    """

    def __init__(self, folder: Path) -> None:
        self.run = Run.open(folder)
        self._best = folder / "checkpoints" / "best.safetensors"
        if self.run.status != "done":
            raise self.wrong(f"the run is not finished (its status: {self.run.status}); resume it with --resume")
        if not self._best.is_file():
            raise self.wrong(
                "it pre-trained no weights (pretrain.epochs: 0, or transfer.graph: keep); take a run that did"
            )

    @property
    def manifest(self) -> dict[str, Any]:
        return self.run.manifest

    @cached_property
    def recipe(self) -> Recipe:
        return self.run.recipe

    @cached_property
    def state(self) -> dict[str, Tensor]:
        """The state of the method as pre-training left it."""
        try:
            return checkpoint.load(self._best)[0]
        except UserError as error:
            raise self.wrong(f"its weights cannot be read ({error}); run its recipe anew in another folder") from None

    def facts(self) -> dict[str, Any]:
        """What the manifest of a run that takes the weights over says of them."""
        known = {key: self.manifest.get(key) for key in ("recipe", "recipe_hash", "city", "city_hash")}
        return {"run": str(self.run.path), **known, "checkpoint": hash_file(self._best)}

    def city(self, progress: Progress | None = None) -> City:
        """The source city, as the run saw it."""
        city = prepare_city(self.recipe, progress)
        if city.content_hash != self.manifest.get("city_hash"):
            raise self.wrong(f"its city, {city.name}, has changed since; run its recipe anew in another folder")
        return city

    def wrong(self, message: str) -> UserError:
        """What to say of a run that cannot be used."""
        return UserError(Problem(message, self.run.path, key=KEY))
