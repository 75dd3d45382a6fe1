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
    """20 regions with every kind of source, some lacking each; one city for the whole session, not to be changed."""
    return testing.tiny_city()


@pytest.fixture(scope="session")
def demo_city(tmp_path_factory: pytest.TempPathFactory) -> City:
    """The synthetic city of 49 regions, prepared."""
    folder = tmp_path_factory.mktemp("demo")
    return City.open(prepare(write_demo(folder, regions=49, seed=1), out=folder / "prepared"))


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real cities, where `URBANKIT_TEST_DATA` names one; tests that need it are skipped otherwise."""
    folder = os.environ.get("URBANKIT_TEST_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.skip("real-city data is not here")
    return Path(folder)


@pytest.fixture(scope="session", autouse=True)
def session_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Fixtures of modules and sessions, which come before `private_cache`, do not use the user's cache folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("URBANKIT_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(autouse=True)
def private_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test has a cache folder of its own, so that nothing leaks between runs."""
    monkeypatch.setenv("URBANKIT_CACHE", str(tmp_path_factory.mktemp("cache")))
