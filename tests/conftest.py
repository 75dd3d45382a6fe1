"""Fixtures that many tests share."""

import os
import shutil
from pathlib import Path

import pytest

from urbankit import Recipe, Run, run
from urbankit.testing.fixtures import demo_city as tiny_city
from urbankit.testing.fixtures import private_cache
from urbankit.testing.fixtures import real_data as shared_data

__all__ = ["private_cache", "shared_data", "tiny_city"]

# Beside the checkout, where nothing else is named; tests that need it are skipped where it is absent.
os.environ.setdefault("URBANKIT_TEST_DATA", str(Path(__file__).parents[2] / "shared" / "data"))

UNTRAINED = [
    "city.demo.regions=30",
    "pretrain.epochs=0",
    "finetune.epochs=1",
    "evaluation={seeds: [0], floors: [mean], splits: [random], min_class_size: 1}",
    "report.figures=false",
    "modalities={location: {name: geoclip}}",
    "method.alignments=[]",
]


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run of the main recipe on 30 regions, of weights that were never trained; to be read, not changed."""
    return run(Recipe.load("urbanmmcl", UNTRAINED), out=tmp_path_factory.mktemp("finished") / "run")


@pytest.fixture
def copied_run(finished_run: Run, tmp_path: Path) -> Path:
    """The folder of a copy of it, to be spoilt."""
    return Path(shutil.copytree(finished_run.path, tmp_path / "run"))
