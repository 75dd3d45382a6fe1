"""The run folder: what one run leaves behind, and how it is read."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from urbankit.recipe.recipe import Recipe
from urbankit.tables.results import ResultsTable
from urbankit.utils.errors import Problem, UserError
from urbankit.utils.files import read_json


class Run:
    """A run folder, read lazily. A file that is missing or damaged is a `UserError` that names it.

    >>> run = Run.open("runs/new-york")
    >>> run.embeddings.plot()
    >>> print(run.table())
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def open(cls, path: str | Path) -> Run:
        """The run in folder `path`; `UserError` where there is none."""
        path = Path(path)
        if not (path / "manifest.json").is_file():
            raise UserError(Problem("is not a run folder: it has no manifest.json; `urbankit run` writes one", path))
        return cls(path)

    def __repr__(self) -> str:
        return f"Run({str(self.path)!r})"

    @cached_property
    def recipe(self) -> Recipe:
        """The resolved recipe of the run; the plugins and files that it names need not be here any more."""
        path = self._there("recipe.yaml")
        try:
            return Recipe.from_yaml(path.read_text(encoding="utf-8"))
        except ValueError as error:
            message = f"is not a recipe that this version of urbankit reads ({str(error).splitlines()[0]})"
            raise UserError(Problem(f"{message}; run it anew in another folder", path)) from None

    @cached_property
    def manifest(self) -> dict[str, Any]:
        """Versions, seeds, hashes, device and the seconds of each stage."""
        path = self._there("manifest.json")
        try:
            manifest = read_json(path)
        except ValueError as error:
            raise UserError(Problem(f"is damaged ({error}); run the recipe anew in another folder", path)) from None
        if not isinstance(manifest, dict):
            raise UserError(Problem("is not the manifest of a run; run the recipe anew in another folder", path))
        return manifest

    @cached_property
    def metrics(self) -> pd.DataFrame:
        """Tidy records: `task, model, split, seed, metric, value`; `model` is a method or `floor:NAME`."""
        return self._table("metrics.parquet")

    @cached_property
    def predictions(self) -> pd.DataFrame:
        """The method's predictions: one row a region, task, split and seed; see `write_predictions`."""
        return self._table("predictions.parquet")

    @cached_property
    def floor_predictions(self) -> pd.DataFrame:
        """The floors' predictions of the test regions, with a column `model` more."""
        return self._table("floor_predictions.parquet")

    @cached_property
    def history(self) -> pd.DataFrame:
        """Losses of every epoch: `stage, epoch, part, name, value`; `part` is `train` or `validation`."""
        return self._table("history.parquet")

    @cached_property
    def block_weights(self) -> pd.DataFrame:
        """What each task's head leans on: `task, split, seed, block, weight`, of heads that say so; see `Head`."""
        return self._table("block_weights.parquet")

    @cached_property
    def walks(self) -> pd.DataFrame:
        """What the method drew around a few regions in each view: `view, root, region_id, target, weight, visits`."""
        return self._table("walks.parquet")

    @cached_property
    def embeddings(self) -> gpd.GeoDataFrame:
        """`region_id`, `geometry` and `embedding`, a float32 array [dim] a region; in the order of the city."""
        path = self._there("embeddings.parquet")
        with _readable(path):
            return gpd.read_parquet(path)

    @cached_property
    def vectors(self) -> NDArray[np.float32]:
        """The embeddings as one matrix [N, dim], in the order of `embeddings`."""
        column = self.embeddings["embedding"]
        return (
            np.stack(column.to_list()).astype(np.float32, copy=False) if len(column) else np.empty((0, 0), np.float32)
        )

    def blocks(self) -> dict[str, NDArray[np.float32]]:
        """The parts [N, width] that the embedding consists of, side by side: those of modalities and of views.

        Empty where the method's fusions do not keep them apart, and for runs that did not note them.
        """
        noted = self.manifest.get("blocks") or []
        widths = [block["width"] for block in noted]
        if sum(widths) != self.vectors.shape[1] or len(widths) < 2:
            return {}
        parts = np.split(self.vectors, np.cumsum(widths)[:-1], axis=1)
        return {block["name"]: part for block, part in zip(noted, parts, strict=True)}

    def table(self) -> ResultsTable:
        """The results table: mean and deviation over seeds of the method and its floors, on every split."""
        return ResultsTable(self.metrics)

    def has(self, name: str) -> bool:
        """Whether the run wrote the file `name`; a run without tasks has no predictions."""
        return (self.path / name).is_file()

    def _there(self, name: str) -> Path:
        if not self.has(name):
            status = self.manifest.get("status", "unknown") if name != "manifest.json" else "unknown"
            raise UserError(
                Problem(f"the run has not written {name} (its status: {status}); `--resume` goes on with it", self.path)
            )
        return self.path / name

    def _table(self, name: str) -> pd.DataFrame:
        path = self._there(name)
        with _readable(path):
            return pd.read_parquet(path)


class _readable:
    """Turns the many errors of a damaged Parquet file into one message."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, (OSError, ValueError)):
            raise UserError(Problem(f"cannot be read ({error})", self.path)) from None


def folder_names(paths: Sequence[Path]) -> list[str]:
    """The names of the folders, with as many of their parents as set them apart."""
    resolved = [path.resolve() for path in paths]
    names: list[str] = []
    for depth in range(1, max((len(path.parts) for path in resolved), default=0) + 1):
        names = ["/".join(path.parts[-depth:]) for path in resolved]
        if len(set(names)) == len(set(resolved)):
            break
    return names
