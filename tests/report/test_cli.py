"""`urbankit report` as a user gives it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from urbankit.utils.files import read_json, write_json


def urbankit(*arguments: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "urbankit", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, env=os.environ, check=False)


def test_a_run_whose_city_is_gone_a_folder_that_is_none_and_a_comparison(make_run, tmp_path: Path) -> None:
    run, _ = make_run()
    facts = {"city": "small", "city_hash": "abc", "seed": 0, "status": "interrupted"}
    write_json(run.path / "manifest.json", read_json(run.path / "manifest.json") | facts)
    recipe = (run.path / "recipe.yaml").read_text().replace("demo:\n    regions: 64\n    seed: 7", "prepared: /gone")
    (run.path / "recipe.yaml").write_text(recipe)
    shutil.copytree(run.path, tmp_path / "other")

    one = urbankit("report", run.path, cwd=tmp_path)
    assert one.returncode == 0, one.stderr
    assert "missing: The run did not end well (status: interrupted)" in one.stdout
    assert "missing: The city is not available any more" in one.stdout and "Traceback" not in one.stderr
    assert f"The page is {run.path / 'report.html'}" in one.stdout and (run.path / "report.html").is_file()

    none = urbankit("report", tmp_path, cwd=tmp_path)
    assert none.returncode == 2 and "is not a run folder" in none.stderr

    both = urbankit("report", run.path, tmp_path / "other", cwd=tmp_path)
    assert both.returncode == 0, both.stderr
    assert "run: the run is not done" in both.stdout and (tmp_path / "compare.html").is_file()

    named = urbankit("report", run.path, "--name", "x", cwd=tmp_path)
    assert named.returncode == 2 and "--name" in named.stderr

    beside = urbankit("report", run.path, tmp_path / "other", "--beside", tmp_path / "other", cwd=tmp_path)
    assert beside.returncode == 2 and "--beside" in beside.stderr
