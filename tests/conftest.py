"""Fixtures that many tests share."""

import os
from pathlib import Path

from urbankit.testing.fixtures import demo_city as tiny_city
from urbankit.testing.fixtures import private_cache
from urbankit.testing.fixtures import real_data as shared_data

__all__ = ["private_cache", "shared_data", "tiny_city"]

# Beside the checkout, where nothing else is named; tests that need it are skipped where it is absent.
os.environ.setdefault("URBANKIT_TEST_DATA", str(Path(__file__).parents[2] / "shared" / "data"))
