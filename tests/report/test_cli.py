"""`urbankit report` as a user calls it."""

import shutil
from pathlib import Path

from urbankit.utils.files import read_json, write_json


def test_report_command_writes_runs_without_a_city_and_comparisons(cli, make_run, tmp_path: Path, monkeypatch) -> None:
    run, _ = make_run()
    monkeypatch.chdir(tmp_path)
    facts = {"city": "small", "city_hash": "abc", "seed": 0, "status": "interrupted"}
    write_json(run.path / "manifest.json", read_json(run.path / "manifest.json") | facts)
    recipe = (run.path / "recipe.yaml").read_text().replace("demo:\n    regions: 64\n    seed: 7", "prepared: /gone")
    (run.path / "recipe.yaml").write_text(recipe)
    other = shutil.copytree(run.path, tmp_path / "other")

    one = cli("report", run.path)
    assert "missing: The run is not finished (status: interrupted)" in one.stdout
    assert "missing: The city is not available any more" in one.stdout
    assert f"The page is {run.path / 'report.html'}" in one.stdout and (run.path / "report.html").is_file()

    assert "is not a run folder" in cli("report", tmp_path, status=2).stderr
    both = cli("report", run.path, other)
    assert "run: the run is not done" in both.stdout and (tmp_path / "compare.html").is_file()
    assert "--name" in cli("report", run.path, "--name", "x", status=2).stderr
    assert "--beside" in cli("report", run.path, other, "--beside", other, status=2).stderr
