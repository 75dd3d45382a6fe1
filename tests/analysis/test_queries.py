"""`urbankit neighbours` and `urbankit clusters`, on a finished run and on what is left of one."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pyproj import Geod

from urbankit import Run
from urbankit.runs.context import RunContext
from urbankit.utils.files import read_json, write_json


def test_neighbours_prints_json(cli, finished_run: Run) -> None:
    ids = finished_run.embeddings["region_id"].tolist()
    answer = json.loads(cli("neighbours", finished_run.path, ids[3], "-k", 4, "--json").stdout)
    assert answer["region"]["region_id"] == ids[3] and answer["region"]["distance_km"] == 0
    z = finished_run.vectors - finished_run.vectors.mean(axis=0)
    z /= np.linalg.norm(z, axis=1, keepdims=True)
    similarity = z @ z[3]
    similarity[3] = -2
    best = np.argsort(-similarity)[:4]
    assert [one["region_id"] for one in answer["neighbours"]] == [ids[i] for i in best]
    np.testing.assert_allclose([one["similarity"] for one in answer["neighbours"]], similarity[best], atol=1e-5)
    centre = finished_run.embeddings.centroid.to_crs("EPSG:4326")
    metres = Geod(ellps="WGS84").inv(centre.x[3], centre.y[3], centre.x[best[0]], centre.y[best[0]])[2]
    assert answer["neighbours"][0]["distance_km"] == pytest.approx(metres / 1000)
    assert set(finished_run.recipe.tasks) <= set(answer["region"])
    assert answer["missing"] == [] and answer["units"]


def test_neighbours_prints_a_table_and_can_use_one_view(cli, finished_run: Run) -> None:
    region = finished_run.embeddings["region_id"][0]
    shown = cli("neighbours", finished_run.path, region, "-k", 2)
    assert f"like {region}" in shown.stdout and "similarity" in shown.stdout and shown.stderr == ""
    answer = json.loads(cli("neighbours", finished_run.path, region, "--view", "poi", "-k", 1, "--json").stdout)
    z = finished_run.blocks()["poi"] - finished_run.blocks()["poi"].mean(axis=0)
    z /= np.linalg.norm(z, axis=1, keepdims=True).clip(1e-12)
    similarity = z @ z[0]
    similarity[0] = -2
    assert answer["neighbours"][0]["similarity"] == pytest.approx(similarity.max(), abs=1e-5)
    assert "Did you mean 'poi'?" in cli("neighbours", finished_run.path, region, "--view", "pio", status=2).stderr


def test_neighbours_refuses_an_unknown_region(cli, finished_run: Run) -> None:
    result = cli("neighbours", finished_run.path, "nowhere", status=2)
    assert "no region of 30 has the id 'nowhere' (closest: " in result.stderr and result.stdout == ""


def test_clusters_writes_json_and_csv(cli, finished_run: Run, tmp_path: Path) -> None:
    out = tmp_path / "clusters.csv"
    answer = json.loads(cli("clusters", finished_run.path, "-k", 3, "--json", "--out", out).stdout)
    of = pd.read_csv(out, dtype={"region_id": str})
    assert of["region_id"].tolist() == finished_run.embeddings["region_id"].tolist()
    sizes = [one["size"] for one in answer["clusters"]]
    assert len(sizes) == 3 and sum(sizes) == 30 and sizes == sorted(sizes, reverse=True)
    for one in answer["clusters"]:
        rows = np.flatnonzero(of["cluster"] == one["cluster"])
        assert one["regions"] == of["region_id"][rows].tolist() and one["size"] == len(rows)
        far = np.linalg.norm(finished_run.vectors[rows] - finished_run.vectors[rows].mean(axis=0), axis=1)
        assert one["examples"][0] == one["regions"][int(far.argmin())]
        assert 0 < one["land_use share"] <= 1 and isinstance(one["land_use"], str)
    shown = cli("clusters", finished_run.path, "-k", 3).stdout
    assert "examples" in shown and "land_use share" in shown
    assert "choose -k from 1 to 30" in cli("clusters", finished_run.path, "-k", 31, status=2).stderr


def test_neighbours_and_clusters_use_the_predictions_if_the_city_is_gone(cli, copied_run: Path) -> None:
    write_json(copied_run / "manifest.json", read_json(copied_run / "manifest.json") | {"city_hash": "another"})
    region = Run.open(copied_run).embeddings["region_id"][0]
    shown = cli("neighbours", copied_run, region)
    assert "The city has changed since the run" in shown.stderr and "population_density" in shown.stdout
    answer = json.loads(cli("clusters", copied_run, "-k", 2, "--json").stdout)
    assert len(answer["clusters"]) == 2 and answer["missing"]


def test_neighbours_and_clusters_do_not_prepare_a_missing_city(cli, copied_run: Path, tmp_path: Path) -> None:
    """Which would take minutes of a large one; a report does it."""
    gone = {"city_folder": str(tmp_path / "gone")}
    write_json(copied_run / "manifest.json", read_json(copied_run / "manifest.json") | gone)
    context = RunContext.of(Run.open(copied_run), prepare=False)
    assert context.city is None and f"{tmp_path / 'gone'}: is not a prepared city" in " ".join(context.missing)
    assert RunContext.of(Run.open(copied_run)).city is not None
    assert "The city is not available any more" in cli("clusters", copied_run, "-k", 2).stderr


def test_neighbours_and_clusters_read_interrupted_runs_or_name_the_missing_file(cli, copied_run: Path) -> None:
    for name in ("predictions.parquet", "metrics.parquet", "recipe.yaml"):
        (copied_run / name).unlink()
    write_json(copied_run / "manifest.json", read_json(copied_run / "manifest.json") | {"status": "interrupted"})
    answer = json.loads(cli("neighbours", copied_run, Run.open(copied_run).embeddings["region_id"][0], "--json").stdout)
    assert len(answer["neighbours"]) == 5 and "status: interrupted" in " ".join(answer["missing"])
    (copied_run / "embeddings.parquet").unlink()
    assert "has not written embeddings.parquet" in cli("neighbours", copied_run, "x", status=2).stderr
    assert "has not written embeddings.parquet" in cli("clusters", copied_run, "-k", 2, status=2).stderr
