"""The run folder: what one run leaves behind, and how it is read."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from urbankit.errors import Problem, UserError
from urbankit.files import read_json, whole, write_json

if TYPE_CHECKING:
    import geopandas as gpd
    import pandas as pd

    from urbankit.city.city import City
    from urbankit.evaluation.table import ResultsTable
    from urbankit.export import Exported
    from urbankit.recipe.schema import Recipe

METRIC_COLUMNS = ("task", "model", "split", "seed", "metric", "value")
PREDICTION_COLUMNS = (
    "region_id", "task", "split", "seed", "fold", "truth", "prediction", "truth_class", "prediction_class",
)  # fmt: skip
HISTORY_COLUMNS = ("stage", "epoch", "part", "name", "value")
BLOCK_WEIGHT_COLUMNS = ("task", "split", "seed", "block", "weight")


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
        from urbankit.recipe.schema import Recipe

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
    def surroundings(self) -> pd.DataFrame:
        """What the method drew around a few regions in each view: `view, root, region_id, target, weight, visits`."""
        return self._table("surroundings.parquet")

    @cached_property
    def embeddings(self) -> gpd.GeoDataFrame:
        """`region_id`, `geometry` and `embedding`, a float32 array [dim] a region; in the order of the city."""
        import geopandas as gpd

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
        from urbankit.evaluation.table import ResultsTable

        return ResultsTable(self.metrics)

    def export(
        self,
        to: str | Sequence[str],
        *,
        out: str | Path | None = None,
        what: str | Sequence[str] | None = None,
        crs: Any = None,
        resolution: float | None = None,
        force: bool = False,
    ) -> list[Exported]:
        """Write embeddings and predictions in the formats of other tools; the files, each with its notes.

        `to` is one or more of `gpkg`, `geoparquet`, `csv`, `npy` and `geotiff`; `what` one or more of `embeddings` and
        `predictions`, default all that the run has. Files are named `embeddings.gpkg`, `predictions.tif` and so on, in
        the folder `out`, default `export` in the run's. `crs` is anything that pyproj takes, default the run's own.
        `resolution` is the side of a raster's cells in metres, default about a quarter of the side of a median region.
        A file that is there is replaced only where it is as a former export left it, or with `force`. Raises
        `UserError`.
        """
        from urbankit.export import export

        return export(self, to, out=out, what=what, crs=crs, resolution=resolution, force=force)

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
        import pandas as pd

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


def write_metrics(folder: str | Path, records: Sequence[Mapping[str, Any]]) -> None:
    """`metrics.parquet` and `metrics.json` of metric records. A metric that is not defined is NaN, in JSON null."""
    import pandas as pd

    table = pd.DataFrame(list(records), columns=list(METRIC_COLUMNS))
    table = table.astype({"seed": "int64", "value": "float64"})
    _write_table(Path(folder) / "metrics.parquet", table)
    rows = [{**row, "value": None if math.isnan(row["value"]) else row["value"]} for row in table.to_dict("records")]
    write_json(Path(folder) / "metrics.json", rows)


def write_history(folder: str | Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """`history.parquet` of training: rows of `stage, epoch, part, name, value`."""
    import pandas as pd

    _write_table(Path(folder) / "history.parquet", pd.DataFrame(list(rows), columns=list(HISTORY_COLUMNS)))


def write_block_weights(folder: str | Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """`block_weights.parquet` of the heads that weigh the parts of the embedding; nothing where none does."""
    import pandas as pd

    if rows:
        table = pd.DataFrame(list(rows), columns=list(BLOCK_WEIGHT_COLUMNS))
        _write_table(Path(folder) / "block_weights.parquet", table)


def write_surroundings(folder: str | Path, table: pd.DataFrame) -> None:
    """`surroundings.parquet`, a table as `urbankit.surroundings.drawn` makes it; nothing where none was drawn."""
    if len(table):
        _write_table(Path(folder) / "surroundings.parquet", table)


def write_predictions(
    folder: str | Path, city: City, predictions: pd.DataFrame, floors: pd.DataFrame | None = None
) -> None:
    """`predictions.parquet` of the method, and `floor_predictions.parquet` of the floors.

    Both come as `TaskData.predictions` makes them. `truth` and `prediction` are numbers in the target's own units,
    NaN where a region has no label; of a classification they are positions among its classes, whose names stand in
    `truth_class` and `prediction_class`.
    """
    _write_table(Path(folder) / "predictions.parquet", _with_ids(predictions, city, PREDICTION_COLUMNS))
    if floors is not None:
        columns = ("model", *PREDICTION_COLUMNS)
        _write_table(Path(folder) / "floor_predictions.parquet", _with_ids(floors, city, columns))


def _with_ids(predictions: pd.DataFrame, city: City, columns: Sequence[str]) -> pd.DataFrame:
    if predictions.empty:
        import pandas as pd

        return pd.DataFrame(columns=list(columns))
    ids = np.asarray(city.region_ids, dtype=object)[predictions["region"].to_numpy()]
    return predictions.assign(region_id=ids)[list(columns)]


def write_embeddings(folder: str | Path, city: City, embeddings: NDArray[np.float32]) -> None:
    """`embeddings.parquet`, GeoParquet: `region_id, geometry, embedding`, a fixed-size list of float32, of [N, dim]."""
    import io

    import pyarrow as pa
    import pyarrow.parquet as pq

    buffer = io.BytesIO()
    city.regions[["region_id", "geometry"]].to_parquet(buffer, index=False)
    table = pq.read_table(buffer)
    vectors = np.ascontiguousarray(embeddings, dtype=np.float32)
    column = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), vectors.shape[1])
    table = table.append_column("embedding", column)
    with whole(Path(folder) / "embeddings.parquet") as temporary:
        pq.write_table(table, temporary)


def _write_table(path: Path, table: pd.DataFrame) -> None:
    with whole(path) as temporary:
        table.to_parquet(temporary, index=False)
