"""Fixtures that many tests share."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from urbankit.city.city import City


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real cities beside the checkout; tests that need it are skipped where it is absent."""
    folder = Path(os.environ.get("URBANKIT_TEST_DATA", Path(__file__).parents[2] / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip("real-city data is not here")
    return folder


@pytest.fixture(autouse=True)
def private_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test has a cache folder of its own, so that nothing leaks between runs."""
    monkeypatch.setenv("URBANKIT_CACHE", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture(scope="session")
def tiny_city(tmp_path_factory: pytest.TempPathFactory) -> City:
    """The synthetic city of 49 regions, prepared."""
    from urbankit.city.city import City
    from urbankit.demo import write_demo

    folder = tmp_path_factory.mktemp("tiny")
    return City.prepare(write_demo(folder, regions=49, seed=1), out=folder / "prepared")
