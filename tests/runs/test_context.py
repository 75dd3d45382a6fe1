"""What a report finds of its run and of the run's city."""

from pathlib import Path

import numpy as np
import pytest
import yaml

from urbankit import Run
from urbankit.runs.context import RunContext
from urbankit.utils.errors import UserError
from urbankit.utils.files import read_json, write_json, write_text


def test_context_uses_the_city_of_the_run(finished_run: Run) -> None:
    context = RunContext.of(finished_run)
    assert context.missing == []
    assert context.city is not None
    assert context.city.content_hash == finished_run.manifest["city_hash"]
    assert len(context.regions) == finished_run.manifest["regions"] == len(finished_run.vectors)
    assert {task.name for task in context.tasks} == set(finished_run.recipe.tasks)


def test_embedding_is_the_concatenation_of_its_blocks(finished_run: Run) -> None:
    blocks = finished_run.blocks()
    assert list(blocks) == [block["name"] for block in finished_run.manifest["blocks"]]
    assert {"location", "poi", "mobility", "distance"} <= set(blocks)
    assert np.array_equal(np.concatenate(list(blocks.values()), axis=1), finished_run.vectors)


def test_a_city_that_changed_is_not_used(copied_run: Path) -> None:
    manifest = read_json(copied_run / "manifest.json")
    write_json(copied_run / "manifest.json", manifest | {"city_hash": "another"})
    context = RunContext.of(Run.open(copied_run))
    assert context.city is None
    assert context.tasks == []
    assert len(context.regions) == manifest["regions"]
    assert "has changed since the run" in context.missing[0]


def test_a_missing_city_is_prepared_again_if_possible(copied_run: Path) -> None:
    manifest = read_json(copied_run / "manifest.json")
    write_json(copied_run / "manifest.json", manifest | {"city_folder": str(copied_run / "gone")})
    assert RunContext.of(Run.open(copied_run)).missing == []
    recipe = yaml.safe_load((copied_run / "recipe.yaml").read_text())
    write_text(copied_run / "recipe.yaml", yaml.safe_dump(recipe | {"city": {"prepared": str(copied_run / "gone")}}))
    context = RunContext.of(Run.open(copied_run))
    assert context.city is None
    assert len(context.regions) == manifest["regions"]
    assert "is not available any more" in context.missing[0]


def test_a_run_is_read_without_the_city_file_and_plugins_it_names(cli, copied_run: Path, finished_run: Run) -> None:
    recipe = yaml.safe_load((copied_run / "recipe.yaml").read_text())
    recipe |= {"city": {"spec": str(copied_run / "gone.yaml")}, "transfer": {"from": str(copied_run / "gone")}}
    recipe["method"] = {"name": "a-plugins-own", "width": 3}
    write_text(copied_run / "recipe.yaml", yaml.safe_dump(recipe))
    context = RunContext.of(Run.open(copied_run))
    assert context.missing == [] and len(context.tasks) == len(finished_run.recipe.tasks)
    cli("report", copied_run, "--no-figures")


def test_a_recipe_of_another_version_is_refused_with_a_clear_message(copied_run: Path) -> None:
    write_text(copied_run / "recipe.yaml", "wings: 2\n")
    with pytest.raises(UserError, match=r"recipe\.yaml: is not a recipe that this version of urbankit reads"):
        _ = Run.open(copied_run).recipe


def test_an_unfinished_run_states_its_status_and_missing_files(copied_run: Path) -> None:
    manifest = read_json(copied_run / "manifest.json")
    write_json(copied_run / "manifest.json", manifest | {"status": "running", "city_hash": "another"})
    (copied_run / "embeddings.parquet").unlink()
    context = RunContext.of(Run.open(copied_run))
    assert context.regions is None
    assert "is not finished (status: running)" in context.missing[0]
    assert any("embeddings.parquet" in line for line in context.missing)
