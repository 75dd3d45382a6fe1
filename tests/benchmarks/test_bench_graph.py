"""The command of docs/benchmarks.md, at a tiny size."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_bench_graph_prints_a_table_row_for_each_size():
    command = [sys.executable, "benchmarks/bench_graph.py", "--regions", "40", "60", "--batch", "20", "--steps", "1"]
    command += ["--operations", "--whole-graph-up-to", "50"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    rows = [line.split("|")[1].strip() for line in done.stdout.splitlines() if line.startswith("|")]
    assert rows.count("40") == rows.count("60") == 1
    assert rows.count("messages with gradient") == 2
    assert "to the power of" in done.stdout
