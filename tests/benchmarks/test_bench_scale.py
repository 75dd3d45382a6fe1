"""The command of docs/benchmarks.md that runs every stage, at a tiny size."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_bench_scale_prints_a_table_row_for_each_stage():
    command = [sys.executable, "benchmarks/bench_scale.py", "--regions", "100", "--head", "ridge"]
    done = subprocess.run([*command, "--without-figures"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    rows = {line.split("|")[1].strip(): line for line in done.stdout.splitlines() if line.startswith("|")}
    assert {"prepare", "view poi", "embed", "head", "cross-fitting", "floor raw-gp", "export", "all"} < set(rows)
    assert all(rows[name].count("GB") == 1 for name in rows if name not in ("stage", "---", "all"))
