"""A small synthetic city, written and prepared once for the tests of this folder."""

from pathlib import Path

import pytest

from urbankit import City
from urbankit.datasets.synthetic import write_demo


@pytest.fixture(scope="session")
def small_sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The raw sources of a city of 36 regions, seed 3."""
    return write_demo(tmp_path_factory.mktemp("demo") / "small", regions=36, seed=3).parent


@pytest.fixture(scope="session")
def town(tmp_path_factory: pytest.TempPathFactory) -> City:
    """A prepared city of 300 regions, seed 7: large enough to fit something to."""
    folder = tmp_path_factory.mktemp("demo")
    return City.prepare(write_demo(folder / "town", regions=300, seed=7), out=folder / "prepared")
