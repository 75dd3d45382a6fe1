"""Fixtures of urbankit's own."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from urbankit.testing.fixtures import private_cache, tiny_city

__all__ = ["private_cache", "shared_data", "tiny_city"]


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real cities, where `URBANKIT_TEST_DATA` names one; tests that need it are skipped otherwise."""
    folder = os.environ.get("URBANKIT_TEST_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.skip("real-city data is not here")
    return Path(folder)
