"""The suites that urbankit ships are valid if the baselines are installed."""

from __future__ import annotations

import pytest

from urbankit.bench.suite import load_plan
from urbankit.registry.recipes import shipped_suites


# The suite `plugins` needs other packages.
@pytest.mark.parametrize("name", [name for name in shipped_suites() if name != "plugins"])
def test_shipped_suites_are_valid(name: str) -> None:
    plan = load_plan(name)
    assert plan.suite.description and plan.runs
