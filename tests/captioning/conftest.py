"""A synthetic city of 16 regions without captions, and small checkpoints, made once for all tests."""

import re
import shutil
from pathlib import Path

import pytest
from helpers.tiny_vlm import write_blip2, write_llava

from urbankit import City


@pytest.fixture(scope="session")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of its sources; city.yaml names no captions."""
    from urbankit.datasets.synthetic import write_demo

    spec = write_demo(tmp_path_factory.mktemp("captions") / "sources", regions=16, seed=1)
    spec.write_text(re.sub(r"captions:\n(  .*\n)+", "", spec.read_text()))
    return spec.parent


@pytest.fixture(scope="session")
def city(sources: Path) -> City:
    return City.prepare(sources / "city.yaml", out=sources.parent / "city")


@pytest.fixture
def copied(city: City, tmp_path: Path) -> City:
    """The city in a folder of its own, which a test may change."""
    return City.open(shutil.copytree(city.path, tmp_path / "city"))


@pytest.fixture(scope="session")
def blip2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_blip2(tmp_path_factory.mktemp("blip2"))


@pytest.fixture(scope="session")
def llava(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_llava(tmp_path_factory.mktemp("llava"))
