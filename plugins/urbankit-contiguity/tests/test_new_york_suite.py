"""The suite of New York with the components of this package and of urbankit-raster: its recipes and rows are valid."""

from __future__ import annotations

import pytest

from urbankit.bench.suite import load_plan

pytest.importorskip("urbankit_raster")


def test_new_york_suite_with_both_plugins_is_valid():
    rows = {run.row for run in load_plan("plugins").runs}
    assert rows == {"+ both", "+ contiguity", "+ raster", "UrbanMMCL"}
