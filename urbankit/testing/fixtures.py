"""Fixtures for pytest. In a conftest.py: `from urbankit.testing.fixtures import private_cache, tiny_city`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from urbankit import testing

if TYPE_CHECKING:
    from urbankit.city.city import City


@pytest.fixture(scope="session")
def tiny_city() -> City:
    """20 regions with every kind of source, some lacking each; one city for the whole session, not to be changed."""
    return testing.tiny_city()


@pytest.fixture(autouse=True)
def private_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test has a cache folder of its own, so that nothing leaks between runs."""
    monkeypatch.setenv("URBANKIT_CACHE", str(tmp_path_factory.mktemp("cache")))
