"""`urbankit export` and the answers on regions with awkward names, as commands."""

import json

import pytest
from helpers.small_run import ODD


def test_export_prints_the_written_files(cli, make_run, tmp_path) -> None:
    folder = make_run().path
    result = cli("export", folder, "--to", "csv", "--to", "geotiff", "--what", "embeddings", "--out", tmp_path / "out")
    assert str(tmp_path / "out" / "embeddings.csv") in result.stdout and "resolution 200 m" in result.stdout
    (tmp_path / "out" / "embeddings.csv").write_text("mine")
    assert "--force" in cli("export", folder, "--to", "csv", "--out", tmp_path / "out", status=2).stderr
    cli("export", folder, "--to", "csv", "--out", tmp_path / "out", "--force")


@pytest.mark.parametrize("args", [["--to", "cvs"], ["--to", "csv", "--crs", "x"], []])
def test_export_refuses_wrong_arguments(cli, make_run, args: list[str]) -> None:
    assert cli("export", make_run().path, *args, status=2).stderr


def test_neighbours_accepts_unusual_region_ids(cli, make_run) -> None:
    folder = make_run().path
    shown = cli("neighbours", folder, "line\nbreak", "-k", 11)
    assert r"line\nbreak" in shown.stdout and "<b>x</b>" in shown.stdout
    answer = json.loads(cli("neighbours", folder, 'q"q', "-k", 20, "--json").stdout)
    assert {one["region_id"] for one in answer["neighbours"]} == set(ODD) - {'q"q'}
    assert answer["missing"], "the run of this test has no city"
