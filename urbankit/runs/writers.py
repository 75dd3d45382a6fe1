"""Writers of the files of a run folder."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from urbankit.city.city import City
from urbankit.evaluation.tasks import PREDICTION_SHARE, TRUTH_SHARE
from urbankit.runs import view_measures
from urbankit.utils.files import atomic_path, write_json
from urbankit.utils.parquet import write_table


def write_metrics(
    folder: str | Path, records: Sequence[Mapping[str, Any]], measures: Sequence[Mapping[str, Any]] = ()
) -> None:
    """Write metric records to `metrics.parquet` and `metrics.json`. An undefined metric is NaN, in JSON null.

    The JSON file also holds `measures`, records that need no label (`urbankit.runs.view_measures.records`).
    """
    table = pd.DataFrame(list(records), columns=list(METRIC_COLUMNS))
    table = table.astype({"seed": "int64", "value": "float64"})
    write_table(table, Path(folder) / "metrics.parquet")
    rows = [{**row, "value": None if math.isnan(row["value"]) else row["value"]} for row in table.to_dict("records")]
    write_json(Path(folder) / "metrics.json", [*rows, *measures])


def write_view_measures(folder: str | Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write `views.parquet`, the rows of `urbankit.runs.view_measures.rows`; no file without rows."""
    if rows:
        write_table(pd.DataFrame(list(rows), columns=list(view_measures.COLUMNS)), Path(folder) / view_measures.FILE)


def write_history(folder: str | Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write losses to `history.parquet`: rows of `stage, epoch, part, name, value`."""
    write_table(pd.DataFrame(list(rows), columns=list(HISTORY_COLUMNS)), Path(folder) / "history.parquet")


def write_learning_curves(folder: str | Path, rows: Sequence[Mapping[str, Any]], seed: int) -> None:
    """Write `learning_curves.parquet`, rows of `few_labels.curve_records` with the run's seed; no file without rows."""
    if rows:
        table = pd.DataFrame(list(rows)).assign(seed=seed)
        write_table(table[list(CURVE_COLUMNS)], Path(folder) / "learning_curves.parquet")


def write_block_weights(folder: str | Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write `block_weights.parquet` of heads that weigh the blocks of the embedding; no file without rows."""
    if rows:
        table = pd.DataFrame(list(rows), columns=list(BLOCK_WEIGHT_COLUMNS))
        write_table(table, Path(folder) / "block_weights.parquet")


def write_member_weights(folder: str | Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write `member_weights.parquet` of heads that join several models; no file without rows."""
    if rows:
        table = pd.DataFrame(list(rows), columns=list(MEMBER_WEIGHT_COLUMNS))
        write_table(table, Path(folder) / "member_weights.parquet")


def write_walks(folder: str | Path, table: pd.DataFrame) -> None:
    """Write `walks.parquet`, a table of `sample_walks`; no file without rows."""
    if len(table):
        write_table(table, Path(folder) / "walks.parquet")


def write_predictions(
    folder: str | Path, city: City, predictions: pd.DataFrame, floors: pd.DataFrame | None = None
) -> None:
    """Write `predictions.parquet` of the method, and `floor_predictions.parquet` of the floors.

    Both are tables of `TaskData.predictions`. For regression, `truth` and `prediction` are in the units of the target,
    NaN without a label. For classification they are class indices; `truth_class` and `prediction_class` are the names.
    For a distribution they are those of the largest part, and `truth_share_PART` and `prediction_share_PART` have the
    shares; other tasks of the run have NaN there.
    """
    write_table(_with_ids(predictions, city, PREDICTION_COLUMNS), Path(folder) / "predictions.parquet")
    if floors is not None:
        columns = ("model", *PREDICTION_COLUMNS)
        write_table(_with_ids(floors, city, columns), Path(folder) / "floor_predictions.parquet")


def _with_ids(predictions: pd.DataFrame, city: City, columns: Sequence[str]) -> pd.DataFrame:
    if predictions.empty:
        return pd.DataFrame(columns=list(columns))
    ids = np.asarray(city.region_ids, dtype=object)[predictions["region"].to_numpy()]
    shares = [name for name in map(str, predictions) if name.startswith((TRUTH_SHARE, PREDICTION_SHARE))]
    return predictions.assign(region_id=ids)[[*columns, *shares]]


def write_all_predictions(folder: str | Path, table: gpd.GeoDataFrame) -> None:
    """Write the GeoParquet file `predictions_all.parquet`, a table of `prediction_table`."""
    with atomic_path(Path(folder) / "predictions_all.parquet") as temporary:
        table.to_parquet(temporary, index=False)


def write_embeddings(folder: str | Path, city: City, embeddings: NDArray[np.float32]) -> None:
    """Write `embeddings.parquet`; see `write_embedding_file`."""
    write_embedding_file(Path(folder) / "embeddings.parquet", city, embeddings)


def write_embedding_file(path: Path, city: City, embeddings: NDArray[np.float32]) -> None:
    """Write embeddings [N, dim] of a city's regions to a GeoParquet file, as fixed-size lists of float32."""
    buffer = io.BytesIO()
    city.regions[["region_id", "geometry"]].to_parquet(buffer, index=False)
    table = pq.read_table(buffer)
    vectors = np.ascontiguousarray(embeddings, dtype=np.float32)
    column = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), vectors.shape[1])
    table = table.append_column("embedding", column)
    with atomic_path(path) as temporary:
        pq.write_table(table, temporary)


METRIC_COLUMNS = ("task", "model", "split", "seed", "metric", "value")


PREDICTION_COLUMNS = (
    "region_id", "task", "split", "seed", "fold", "truth", "prediction", "truth_class", "prediction_class",
)  # fmt: skip


HISTORY_COLUMNS = ("stage", "epoch", "part", "name", "value")


CURVE_COLUMNS = ("task", "model", "split", "labels", "draw", "seed", "metric", "value")


BLOCK_WEIGHT_COLUMNS = ("task", "split", "seed", "block", "weight")


MEMBER_WEIGHT_COLUMNS = ("task", "split", "seed", "member", "weight")
