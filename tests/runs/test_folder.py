import json
from pathlib import Path

import geopandas as gpd
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from urbankit.runs.folder import Run
from urbankit.runs.writers import METRIC_COLUMNS, PREDICTION_COLUMNS, write_embeddings, write_metrics
from urbankit.utils.errors import UserError


def test_run_is_read_as_written(make_run) -> None:
    run, city = make_run()
    assert run.recipe.name == "small" and run.manifest["status"] == "done"
    assert tuple(run.metrics.columns) == METRIC_COLUMNS
    assert set(run.metrics["model"]) == {"urbanmmcl", "floor:mean"}
    assert tuple(run.predictions.columns) == PREDICTION_COLUMNS
    assert set(run.predictions["region_id"]) <= set(city.region_ids)
    assert (run.predictions["truth"] == run.predictions["prediction"]).all()
    assert "urbanmmcl" in str(run.table())
    assert set(run.history["part"]) == {"train", "validation"}


def test_embeddings_are_geoparquet_with_a_fixed_size_list(make_run) -> None:
    run, city = make_run()
    path = run.path / "embeddings.parquet"
    schema = pq.read_schema(path)
    assert schema.field("embedding").type == pa.list_(pa.float32(), 12)
    geo = json.loads(schema.metadata[b"geo"])
    assert geo["version"].startswith("1.") and geo["primary_column"] == "geometry"
    frame = gpd.read_parquet(path)
    assert frame.crs == city.regions.crs and frame["region_id"].tolist() == city.region_ids
    vectors = np.stack(frame["embedding"].to_numpy())
    np.testing.assert_array_equal(vectors[:, :2], (city.xy / 1000).astype(np.float32))
    before = path.read_bytes()
    write_embeddings(run.path, city, vectors)
    assert path.read_bytes() == before


def test_undefined_metric_is_null_in_json(tmp_path: Path) -> None:
    record = {"task": "co", "model": "m", "split": "random", "seed": 0, "metric": "r2", "value": float("nan")}
    write_metrics(tmp_path, [record, {**record, "seed": 1, "value": 0.5}])
    assert [row["value"] for row in json.loads((tmp_path / "metrics.json").read_text())] == [None, 0.5]
    table = pq.read_table(tmp_path / "metrics.parquet").to_pandas()
    assert np.isnan(table["value"][0]) and table["value"][1] == 0.5


def test_missing_unfinished_and_damaged_runs_are_refused(make_run, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"is not a run folder: it has no manifest\.json"):
        Run.open(tmp_path / "nowhere")
    run, _ = make_run()
    (run.path / "metrics.parquet").unlink()
    with pytest.raises(UserError, match=r"has not written metrics\.parquet"):
        _ = run.metrics
    content = (run.path / "predictions.parquet").read_bytes()
    (run.path / "predictions.parquet").write_bytes(content[: len(content) // 2])
    with pytest.raises(UserError, match=r"predictions\.parquet: cannot be read"):
        _ = run.predictions


def test_a_run_without_tasks_has_empty_tables(make_run) -> None:
    run, _ = make_run(tasks=())
    assert run.metrics.empty and run.predictions.empty and run.table().tables == []


@pytest.mark.parametrize("name", ["embeddings", "metrics", "predictions", "history"])
def test_tables_with_other_columns_are_refused(make_run, name: str) -> None:
    run, _ = make_run()
    path = run.path / f"{name}.parquet"
    table = pq.read_table(path)
    pq.write_table(table.drop_columns(table.column_names[0]), path)
    with pytest.raises(UserError, match=rf"{name}.*parquet: (has no column '|is damaged)"):
        getattr(Run.open(run.path), name)


def test_embeddings_of_several_lengths_are_refused(make_run) -> None:
    run, _ = make_run()
    table = gpd.read_parquet(run.path / "embeddings.parquet")
    table["embedding"] = [vector[: 1 + row % 2] for row, vector in enumerate(table["embedding"])]
    table.to_parquet(run.path / "embeddings.parquet")
    with pytest.raises(UserError, match=r"embeddings\.parquet: (cannot be read|is damaged)"):
        _ = Run.open(run.path).vectors


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"seed": "one"}, "seed"),
        ({"blocks": [1]}, "blocks"),
        ({"training": {"pretrain": {}}}, "training"),
        ({"seconds": {"city": "x"}}, "seconds"),
    ],
)
def test_a_manifest_with_values_of_other_types_is_refused(make_run, changes: dict, key: str) -> None:
    run, _ = make_run()
    (run.path / "urbankit-files.jsonl").unlink(missing_ok=True)
    (run.path / "manifest.json").write_text(json.dumps(run.manifest | changes))
    with pytest.raises(UserError, match=rf"is not the manifest of a run \({key}"):
        _ = Run.open(run.path).manifest


def test_a_manifest_without_a_seed_is_named_where_it_is_needed(make_run) -> None:
    run, _ = make_run()
    with pytest.raises(UserError, match="lacks `nothing`"):
        run.recorded("nothing")
    assert run.recorded("status") == "done"
