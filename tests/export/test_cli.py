"""`urbankit export` and the answers on regions with awkward names, as commands."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from helpers.small_run import ODD


def call(*args: object, status: int = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run([sys.executable, "-m", "urbankit", *map(str, args)], capture_output=True, text=True)
    assert done.returncode == status, done.stderr
    assert "Traceback" not in done.stderr
    return done


def test_export_says_what_it_wrote(make_run, tmp_path) -> None:
    folder = make_run().path
    said = call("export", folder, "--to", "csv", "--to", "geotiff", "--what", "embeddings", "--out", tmp_path / "out")
    assert str(tmp_path / "out" / "embeddings.csv") in said.stdout and "resolution 200 m" in said.stdout
    (tmp_path / "out" / "embeddings.csv").write_text("mine")
    assert "--force" in call("export", folder, "--to", "csv", "--out", tmp_path / "out", status=2).stderr
    call("export", folder, "--to", "csv", "--out", tmp_path / "out", "--force")


@pytest.mark.parametrize("args", [["--to", "cvs"], ["--to", "csv", "--crs", "x"], []])
def test_export_of_a_wrong_call(make_run, args: list[str]) -> None:
    assert call("export", make_run().path, *args, status=2).stderr


def test_neighbours_of_regions_with_awkward_names(make_run) -> None:
    folder = make_run().path
    shown = call("neighbours", folder, "line\nbreak", "-k", 11)
    assert r"line\nbreak" in shown.stdout and "<b>x</b>" in shown.stdout
    answer = json.loads(call("neighbours", folder, 'q"q', "-k", 20, "--json").stdout)
    assert {one["region_id"] for one in answer["neighbours"]} == set(ODD) - {'q"q'}
    assert answer["missing"], "the run of this test has no city"
