"""Sources are checked, and their ids compared with those of the regions, before a city is prepared."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from urbankit import City, UserError
from urbankit.city.prepare.check import match_sources
from urbankit.testing.city import N, write_sources


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    return write_sources(tmp_path, np.arange(N))


@pytest.fixture
def recipe(tmp_path: Path, spec: Path) -> Path:
    path = tmp_path / "recipe.yaml"
    text = f"city: {{spec: {spec}}}\nmodalities: {{location: {{name: coordinates}}}}\nmethod: {{name: urbanmmcl}}\n"
    path.write_text(text)
    return path


def rename_ids(path: Path) -> None:
    """Give the rows of a table ids that no region has."""
    table = pl.read_csv(path, infer_schema=False)
    table.with_columns(pl.first() + "x").write_csv(path)


def test_validate_counts_the_same_rows_as_prepare(spec: Path, tmp_path: Path) -> None:
    files = sorted(tmp_path.rglob("*"))
    reports = {report.key: report for report in match_sources(spec)}
    assert sorted(tmp_path.rglob("*")) == files
    prepared = {report.key: report for report in City.prepare(spec, out=tmp_path / "city").report.sources}
    assert {"regions", "poi", "flows", "captions.rsi"} < set(reports)
    assert reports == {key: report for key, report in prepared.items() if key in reports}


def test_tables_of_another_city_are_reported_in_one_message(spec: Path, recipe: Path, cli) -> None:
    for name in ("census", "targets"):
        rename_ids(spec.with_name(f"{name}.csv"))
    with pytest.raises(UserError, match="no id in column") as error:
        match_sources(spec)
    files = {problem.file.name for problem in error.value.problems}
    assert files == {"census.csv", "targets.csv"}
    for command in (["validate", recipe], ["run", recipe, "--dry-run"]):
        assert "no id in column" in cli(*command, status=2).stderr


def test_validate_and_dry_run_say_how_many_rows_match(recipe: Path, cli) -> None:
    for command in (["validate", recipe], ["run", recipe, "--dry-run"]):
        output = cli(*command).stdout
        [census] = [line.split() for line in output.splitlines() if line.strip().startswith("tables.census")]
        assert census[1] == census[2]


def test_a_recipe_is_valid_without_the_files_of_its_city(spec: Path, recipe: Path, cli) -> None:
    spec.with_name("census.csv").unlink()
    result = cli("validate", recipe)
    assert "is a valid recipe" in result.stdout
    assert "not compared" in result.stderr and "census.csv" in result.stderr


def test_mistakes_in_the_city_file_are_no_missing_files(spec: Path, recipe: Path, cli) -> None:
    spec.write_text(spec.read_text() + "tragets: {}\n")
    (spec.parent / "census.csv").unlink()
    for command in (["validate", recipe], ["run", recipe, "--dry-run"]):
        assert "'targets'" in cli(*command, status=2).stderr


@pytest.mark.parametrize("prepared", [False, True])
def test_a_task_without_a_target_is_named_before_a_run(prepared: bool, spec: Path, recipe: Path, cli) -> None:
    if prepared:
        city = City.prepare(spec, out=spec.with_name("city"))
        recipe.write_text(recipe.read_text().replace(f"spec: {spec}", f"prepared: {city.path}"))
    recipe.write_text(recipe.read_text() + "tasks: {density: {head: {name: ridge}}, densty: {head: {name: ridge}}}\n")
    for command in (["validate", recipe], ["run", recipe, "--dry-run"]):
        assert "has no target 'densty'" in cli(*command, status=2).stderr


def test_validate_says_what_a_prepared_city_lacks(spec: Path, recipe: Path, cli) -> None:
    city = City.prepare(spec, out=spec.with_name("city"))
    text = recipe.read_text().replace(f"spec: {spec}", f"prepared: {city.path}")
    recipe.write_text(text.replace("modalities: {", "modalities: {buildings: {name: convnet}, "))
    assert "modality buildings will be left out" in cli("validate", recipe).stderr
