"""The command that compares one process with several, at a tiny size."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_bench_processes_prints_the_difference_and_draws_the_curves(tmp_path):
    figure = tmp_path / "curves.png"
    sizes = ["--regions", "40", "--epochs", "1", "--figure", str(figure)]
    command = [sys.executable, "benchmarks/bench_processes.py", *sizes]
    environment = os.environ | {"URBANKIT_CACHE": str(tmp_path / "cache"), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    line = next(line for line in done.stdout.splitlines() if line.startswith("relative difference, train"))
    assert float(line.split(": ")[1].split()[0]) < 1e-3
    assert figure.stat().st_size > 1000
