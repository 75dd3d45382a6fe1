"""Suites: many runs as one experiment, resumable, ending in tables.

>>> from urbankit.bench import run_suite
>>> bench = run_suite("paper-tables", jobs=2)
>>> bench.results.query("metric == 'r2'")
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from urbankit.bench.run import Bench, run_suite
    from urbankit.runs.compare import compare_runs

_WHERE = {
    "Bench": "urbankit.bench.run",
    "compare_runs": "urbankit.runs.compare",
    "run_suite": "urbankit.bench.run",
}

__all__ = ["Bench", "compare_runs", "run_suite"]


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'urbankit.bench' has no attribute '{name}'")
    return getattr(importlib.import_module(_WHERE[name]), name)
