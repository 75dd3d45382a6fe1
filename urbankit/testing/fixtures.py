"""Pytest fixtures: `from urbankit.testing.fixtures import private_cache, session_cache, tiny_city` in conftest.py."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from urbankit import testing
from urbankit.city.city import City
from urbankit.city.prepare.prepare import prepare
from urbankit.datasets.synthetic import write_demo


@pytest.fixture(scope="session")
def tiny_city() -> City:
    """The tiny city of 20 regions, in which every source lacks some regions. All tests share it; do not change it."""
    return testing.tiny_city()


@pytest.fixture(scope="session")
def demo_city(tmp_path_factory: pytest.TempPathFactory) -> City:
    """The synthetic city of 49 regions, prepared."""
    folder = tmp_path_factory.mktemp("demo")
    return City.open(prepare(write_demo(folder, regions=49, seed=1), out=folder / "prepared"))


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real cities in `URBANKIT_TEST_DATA`; without it, tests that need it are skipped."""
    folder = os.environ.get("URBANKIT_TEST_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.skip("URBANKIT_TEST_DATA names no folder of real cities")
    return Path(folder)


@pytest.fixture(scope="session", autouse=True)
def session_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Fixtures of modules and sessions, which come before `private_cache`, do not use the user's cache folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("URBANKIT_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(autouse=True)
def private_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test uses its own cache folder, so that tests do not affect each other."""
    monkeypatch.setenv("URBANKIT_CACHE", str(tmp_path_factory.mktemp("cache")))
