"""A finished run on one small city, and recipes that take its weights to another."""

import shutil
from pathlib import Path

import pytest
from helpers.transfer_runs import Keys, completed, keys_on

from urbankit import City, Run
from urbankit.datasets.synthetic import write_demo


@pytest.fixture(scope="session")
def other_city(tmp_path_factory) -> City:
    folder = tmp_path_factory.mktemp("other")
    return City.prepare(write_demo(folder, regions=49, seed=2), out=folder / "prepared")


@pytest.fixture(scope="session")
def source(tiny_city, recipe_on, tmp_path_factory) -> Path:
    """A finished run on the tiny city."""
    folder = tmp_path_factory.mktemp("source") / "run"
    completed(keys_on(tiny_city, recipe_on), folder)
    return folder


@pytest.fixture(scope="session")
def model_folder(source, tmp_path_factory) -> Path:
    """The run as a model; to be read, not changed."""
    folder = tmp_path_factory.mktemp("model") / "model"
    Run.open(source).export("model", out=folder)
    return folder


@pytest.fixture
def new(source, other_city, recipe_on) -> Keys:
    return keys_on(other_city, recipe_on, transfer={"from": str(source), "graph": "new"})


@pytest.fixture
def keep(source, other_city, recipe_on) -> Keys:
    return keys_on(other_city, recipe_on, transfer={"from": str(source), "graph": "keep"})


@pytest.fixture
def copied(source, tmp_path) -> Path:
    """A copy of the source run, to spoil."""
    return Path(shutil.copytree(source, tmp_path / "copied"))
