"""The run folder: `Run` is the only code that opens its files."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cached_property
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import geopandas as gpd
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from urbankit.evaluation.cross_fit import CrossFit
from urbankit.recipe.recipe import Recipe
from urbankit.runs.manifest_schema import manifest_faults
from urbankit.runs.prediction_table import FILE as CROSS_FIT
from urbankit.runs.prediction_table import read_cross_fits
from urbankit.runs.view_measures import FILE as VIEW_MEASURES
from urbankit.tables.results import ResultsTable
from urbankit.utils.errors import Problem, UserError
from urbankit.utils.html import facts
from urbankit.utils.json_text import parse_json
from urbankit.utils.ledger import LEDGER, Ledger
from urbankit.utils.parquet import valid_text
from urbankit.utils.text import list_some

if TYPE_CHECKING:
    from typing_extensions import Self

COLUMNS = {
    "embeddings.parquet": ("region_id", "geometry", "embedding"),
    "metrics.parquet": ("task", "model", "split", "seed", "metric", "value"),
    "predictions.parquet": ("region_id", "task", "split", "seed", "truth", "prediction"),
    "predictions_all.parquet": ("region_id", "geometry"),
    "floor_predictions.parquet": ("model", "region_id", "task", "split", "seed", "truth", "prediction"),
    "history.parquet": ("stage", "epoch", "part", "name", "value"),
    "learning_curves.parquet": ("task", "model", "split", "labels", "draw", "seed", "metric", "value"),
    "block_weights.parquet": ("task", "split", "seed", "block", "weight"),
    "member_weights.parquet": ("task", "split", "seed", "member", "weight"),
    VIEW_MEASURES: ("name", "metric", "value"),
    "walks.parquet": ("view", "root", "region_id", "target", "weight", "visits"),
}
"""Columns that tables of a run have."""

TRIES = 3
"""How often a file is read again that another process may be writing."""


class Run:
    """A run folder. Each file is read when its property is first used.

    A property raises `UserError` if its file is missing or damaged.

    >>> run = Run.open("runs/new-york")
    >>> run.embeddings.plot()
    >>> print(run.table())

    Attributes:
        path: The folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def open(cls, path: str | Path) -> Self:
        """Open the run in a folder.

        Args:
            path: The run folder.

        Raises:
            UserError: If the folder has no `manifest.json`.
        """
        path = Path(path)
        if not (path / "manifest.json").is_file():
            raise UserError(Problem("is not a run folder: it has no manifest.json; `urbankit run` writes one", path))
        return cls(path)

    def __repr__(self) -> str:
        return f"Run({str(self.path)!r})"

    def _repr_html_(self) -> str:
        """What a notebook shows: what was run, its status, and the results table."""
        manifest = self.manifest
        shown = facts(
            f"Run {self.path}", [("city", manifest.get("city", "")), ("status", self.status), ("folder", self.path)]
        )
        return shown + (self.table().html() if self.has("metrics.parquet") else "")

    @cached_property
    def recipe(self) -> Recipe:
        """The resolved recipe. Plugins and files that it names need not exist any more."""
        path = self.file("recipe.yaml")
        try:
            return Recipe.from_yaml(self.recipe_text)
        except ValueError as error:
            message = f"is not a recipe that this version of urbankit reads ({str(error).splitlines()[0]})"
            raise UserError(Problem(f"{message}; run it again in another folder", path)) from None

    @cached_property
    def recipe_text(self) -> str:
        """The text of `recipe.yaml`, also if this version of urbankit does not read it as a recipe."""
        return self._content("recipe.yaml").read().decode("utf-8")

    @cached_property
    def manifest(self) -> dict[str, Any]:
        """Status, versions, seeds, hashes, device, and the seconds of each stage."""
        path = self.file("manifest.json")
        try:
            manifest = parse_json(self._content("manifest.json").read())
        except ValueError as error:
            raise UserError(Problem(f"is damaged ({error}); run the recipe again in another folder", path)) from None
        if faults := manifest_faults(manifest):
            message = f"is not the manifest of a run ({list_some(faults, 3)}); run the recipe again in another folder"
            raise UserError(Problem(message, path))
        return manifest

    def recorded(self, key: str) -> Any:
        """Return a value of the manifest. Raises `UserError` if the manifest lacks it."""
        if self.manifest.get(key) is None:
            message = f"lacks `{key}`, which a finished run has; run the recipe again in another folder"
            raise UserError(Problem(message, self.path / "manifest.json"))
        return self.manifest[key]

    @property
    def status(self) -> str:
        """`done`, `running`, `interrupted` or `failed`; `unknown` if the manifest has none."""
        return str(self.manifest.get("status", "unknown"))

    @cached_property
    def metrics(self) -> pd.DataFrame:
        """Tidy records: `task, model, split, seed, metric, value`; `model` is a method or `floor:NAME`."""
        return self._table("metrics.parquet")

    @cached_property
    def predictions(self) -> pd.DataFrame:
        """Predictions of the method, one row for each region, task, split and seed; see `write_predictions`."""
        return self._table("predictions.parquet")

    @cached_property
    def predictions_all(self) -> gpd.GeoDataFrame:
        """Predictions of every region, labelled or not, one row for each region; see `prediction_table`."""
        return self._regions("predictions_all.parquet")

    @cached_property
    def cross_fits(self) -> tuple[dict[str, CrossFit], str]:
        """Cross-fitted predictions by task, and the split protocol that calibrates them."""
        with _readable(self.path / CROSS_FIT):
            return read_cross_fits(self._content(CROSS_FIT))

    @cached_property
    def floor_predictions(self) -> pd.DataFrame:
        """Predictions of the floors for the test regions, with an additional column `model`."""
        return self._table("floor_predictions.parquet")

    @cached_property
    def history(self) -> pd.DataFrame:
        """Losses of every epoch: `stage, epoch, part, name, value`; `part` is `train` or `validation`."""
        return self._table("history.parquet")

    @cached_property
    def learning_curves(self) -> pd.DataFrame:
        """Scores under few labels: `task, model, split, labels, draw, seed, metric, value`; one row for each draw."""
        return self._table("learning_curves.parquet")

    @cached_property
    def block_weights(self) -> pd.DataFrame:
        """Weights that heads give the blocks of the embedding: `task, split, seed, block, weight`; see `Head`."""
        return self._table("block_weights.parquet")

    @cached_property
    def member_weights(self) -> pd.DataFrame:
        """Weights of the models that heads join: `task, split, seed, member, weight`, such as `ridge on embedding`."""
        return self._table("member_weights.parquet")

    @cached_property
    def view_measures(self) -> pd.DataFrame:
        """What the run measured of its views and of pre-training without labels: `name, metric, value`."""
        return self._table(VIEW_MEASURES)

    @cached_property
    def walks(self) -> pd.DataFrame:
        """Subgraphs that the method samples around a few regions: `view, root, region_id, target, weight, visits`."""
        return self._table("walks.parquet")

    @cached_property
    def embeddings(self) -> gpd.GeoDataFrame:
        """`region_id`, `geometry` and `embedding`, a float32 array [dim], of N regions in the order of the city."""
        return self._regions("embeddings.parquet")

    @cached_property
    def vectors(self) -> NDArray[np.float32]:
        """The embeddings as one matrix [N, dim], in the order of `embeddings`."""
        column = self.embeddings["embedding"]
        if not len(column):
            return np.empty((0, 0), np.float32)
        with _readable(self.path / "embeddings.parquet"):
            return np.stack(column.to_list()).astype(np.float32, copy=False)

    def blocks(self) -> dict[str, NDArray[np.float32]]:
        """Split the embeddings into the blocks of modalities and views that they are concatenated from.

        Returns:
            Vectors [N, width] by the name of the block; empty if the fusions of the method do not keep blocks apart.
        """
        blocks = self.manifest.get("blocks") or []
        widths = [block["width"] for block in blocks]
        return split_blocks(self.vectors, [block["name"] for block in blocks], widths) if len(widths) > 1 else {}

    def table(self) -> ResultsTable:
        """The results table: mean and standard deviation over seeds of the method and its floors, on every split."""
        return ResultsTable(self.metrics)

    def has(self, name: str) -> bool:
        """Whether the run has written the file `name`; a run without tasks, for example, has no predictions."""
        return (self.path / name).is_file()

    def file(self, name: str) -> Path:
        """The path of a file in the folder.

        Args:
            name: The name of the file, such as `metrics.parquet`.

        Raises:
            UserError: If the run has not written the file.
        """
        if not self.has(name):
            status = "unknown" if name == "manifest.json" else self.status
            raise UserError(
                Problem(f"the run has not written {name} (its status: {status}); resume it with --resume", self.path)
            )
        return self.path / name

    def _table(self, name: str) -> pd.DataFrame:
        with _readable(self.path / name):
            table = pd.read_parquet(valid_text(self._content(name)))
        self._check_columns(name, table)
        return table

    def _regions(self, name: str) -> gpd.GeoDataFrame:
        with _readable(self.path / name):
            table = gpd.read_parquet(valid_text(self._content(name)))
        self._check_columns(name, table)
        return table

    def _check_columns(self, name: str, table: pd.DataFrame) -> None:
        missing = [column for column in COLUMNS[name] if column not in table.columns]
        if missing and len(table):
            message = f"has no column {', '.join(map(repr, missing))}, so no run of this version of urbankit wrote it"
            raise UserError(Problem(f"{message}; run the recipe again in another folder", self.path / name))

    def _content(self, name: str) -> BytesIO:
        """The bytes of a file. Raises `UserError` if they are not those that urbankit wrote, where that is recorded."""
        path = self.file(name)
        for _ in range(TRIES):
            content = path.read_bytes()
            check = {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
            ledger = Ledger(self.path)
            if name not in ledger.files or ledger.accepts(name, check):
                return BytesIO(content)
        message = f"is damaged: it was changed after urbankit wrote it ({LEDGER} has its hash)"
        raise UserError(Problem(f"{message}; restore it, or run the recipe again in another folder", path))


class _readable:
    """Turns the errors of reading a damaged Parquet file into a `UserError`."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, (OSError, ValueError)):
            raise UserError(Problem(f"cannot be read ({error})", self.path)) from None


def split_blocks(
    vectors: NDArray[np.float32], names: Sequence[str], widths: Sequence[int]
) -> dict[str, NDArray[np.float32]]:
    """Return the blocks [N, width] of embeddings [N, dim] by name; empty if the widths are not those of the columns."""
    if sum(widths) != vectors.shape[1]:
        return {}
    return dict(zip(names, np.split(vectors, np.cumsum(widths)[:-1], axis=1), strict=True))


def folder_names(paths: Sequence[Path]) -> list[str]:
    """The names of folders, with as many of their parents as make them distinct."""
    resolved = [path.resolve() for path in paths]
    names: list[str] = []
    for depth in range(1, max((len(path.parts) for path in resolved), default=0) + 1):
        names = ["/".join(path.parts[-depth:]) for path in resolved]
        if len(set(names)) == len(set(resolved)):
            break
    return names
