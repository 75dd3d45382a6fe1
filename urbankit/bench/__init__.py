"""Suites: many runs as one experiment, with tables of the results.

>>> from urbankit.bench import run_suite
>>> bench = run_suite("paper-tables", jobs=2)
>>> bench.results.query("metric == 'r2'")
"""

from urbankit.bench.run import Bench, run_suite
from urbankit.runs.compare import compare_runs

__all__ = ["Bench", "compare_runs", "run_suite"]
