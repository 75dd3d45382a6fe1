"""Fixtures that many tests share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from urbankit.city.city import City


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
