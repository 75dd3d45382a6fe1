"""What a report finds of its run and of the run's city."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

from urbankit import Recipe, Run, run
from urbankit.errors import UserError
from urbankit.files import read_json, write_json
from urbankit.report.subject import Subject

SETS = [
    "city.demo.regions=40",
    "pretrain.epochs=0",
    "finetune.epochs=1",
    "evaluation.seeds=[0]",
    "evaluation.floors=[mean]",
    "report.figures=false",
    "modalities={location: {name: geoclip}}",
    "method.alignments=[]",
]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("subject")
    return run(Recipe.load("urbanmmcl", SETS), out=folder / "run")


@pytest.fixture
def copied(finished: Run, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished.path, tmp_path / "run"))


def test_the_city_is_the_one_that_was_read(finished: Run) -> None:
    subject = Subject.of(finished)
    assert subject.missing == []
    assert subject.city is not None
    assert subject.city.content_hash == finished.manifest["city_hash"]
    assert len(subject.regions) == finished.manifest["regions"] == len(finished.vectors)
    assert {task.name for task in subject.tasks} == set(finished.recipe.tasks)


def test_the_embedding_is_its_blocks_side_by_side(finished: Run) -> None:
    blocks = finished.blocks()
    assert list(blocks) == [block["name"] for block in finished.manifest["blocks"]]
    assert {"location", "poi", "mobility", "distance"} <= set(blocks)
    assert np.array_equal(np.concatenate(list(blocks.values()), axis=1), finished.vectors)


def test_a_city_that_changed_is_not_taken_for_the_runs(copied: Path) -> None:
    manifest = read_json(copied / "manifest.json")
    write_json(copied / "manifest.json", manifest | {"city_hash": "another"})
    subject = Subject.of(Run.open(copied))
    assert subject.city is None
    assert subject.tasks == []
    assert len(subject.regions) == manifest["regions"]
    assert "has changed since the run" in subject.missing[0]


def test_a_city_that_is_gone_is_prepared_anew_where_it_can_be(copied: Path) -> None:
    manifest = read_json(copied / "manifest.json")
    write_json(copied / "manifest.json", manifest | {"city_folder": str(copied / "gone")})
    assert Subject.of(Run.open(copied)).missing == []
    recipe = yaml.safe_load((copied / "recipe.yaml").read_text())
    (copied / "recipe.yaml").write_text(yaml.safe_dump(recipe | {"city": {"prepared": str(copied / "gone")}}))
    subject = Subject.of(Run.open(copied))
    assert subject.city is None
    assert len(subject.regions) == manifest["regions"]
    assert "cannot be had any more" in subject.missing[0]


def test_a_run_is_read_without_the_city_file_and_plugins_that_it_names(copied: Path, finished: Run) -> None:
    recipe = yaml.safe_load((copied / "recipe.yaml").read_text())
    recipe |= {"city": {"spec": str(copied / "gone.yaml")}, "transfer": {"from": str(copied / "gone")}}
    recipe["method"] = {"name": "a-plugins-own", "width": 3}
    (copied / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    subject = Subject.of(Run.open(copied))
    assert subject.missing == [] and len(subject.tasks) == len(finished.recipe.tasks)
    command = [sys.executable, "-m", "urbankit", "report", str(copied), "--no-figures"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_recipe_of_another_version_is_told_as_such(copied: Path) -> None:
    (copied / "recipe.yaml").write_text("wings: 2\n")
    with pytest.raises(UserError, match=r"recipe\.yaml: is not a recipe that this version of urbankit reads"):
        _ = Run.open(copied).recipe


def test_a_run_that_was_cut_short_says_so_and_what_it_lacks(copied: Path) -> None:
    manifest = read_json(copied / "manifest.json")
    write_json(copied / "manifest.json", manifest | {"status": "running", "city_hash": "another"})
    (copied / "embeddings.parquet").unlink()
    subject = Subject.of(Run.open(copied))
    assert subject.regions is None
    assert "did not end well (status: running)" in subject.missing[0]
    assert any("embeddings.parquet" in line for line in subject.missing)
