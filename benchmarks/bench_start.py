"""Seconds until `urbankit --help` and `urbankit list-components` end, beside an empty typer application.

Run `python benchmarks/bench_start.py`.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

EMPTY = "import typer; app = typer.Typer(); app.command()(lambda: None); app([], standalone_mode=False)"
COMMANDS = {
    "python -c pass": ["-c", "pass"],
    "empty typer application": ["-c", EMPTY],
    "urbankit --help": ["-m", "urbankit", "--help"],
    "urbankit list-components": ["-m", "urbankit", "list-components"],
}
REPEATS = 15


def seconds(arguments: list[str]) -> float:
    """Wall time of one Python process."""
    start = time.perf_counter()
    subprocess.run([sys.executable, *arguments], capture_output=True, check=True)
    return time.perf_counter() - start


def main() -> None:
    for name, arguments in COMMANDS.items():
        times = [seconds(arguments) for _ in range(REPEATS)]
        print(f"{name:26} {min(times):.2f} s best, {statistics.median(times):.2f} s median of {REPEATS}")


if __name__ == "__main__":
    main()
