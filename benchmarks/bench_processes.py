"""Losses of pre-training in one and in several processes: `python benchmarks/bench_processes.py [--figure FILE]`

Pre-trains UrbanMMCL on the synthetic city once in one process and once under torchrun, with the same recipe and seed.
Prints the relative difference of the losses and the seconds of an epoch, and draws both curves.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import matplotlib
import pandas as pd
from matplotlib.figure import Figure

from urbankit.runs.folder import Run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--processes", type=int, default=2, help="processes under torchrun")
    parser.add_argument("--regions", type=int, default=400, help="regions of the synthetic city")
    parser.add_argument("--epochs", type=int, default=20, help="epochs of pre-training")
    parser.add_argument("--figure", type=Path, help="the PNG file to draw")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        runs = {
            count: pretrained(count, options.regions, options.epochs, Path(folder) / str(count))
            for count in (1, options.processes)
        }
        curves = {count: totals(run) for count, run in runs.items()}
        seconds = {count: run.manifest["training"]["pretrain"]["seconds_per_epoch"] for count, run in runs.items()}
    one, several = curves.values()
    difference = ((several - one) / one).abs()
    for part in ("train", "validation"):
        first, largest = difference[part].iloc[0], difference[part].max()
        print(f"relative difference, {part}: {first:.1e} in the first epoch, at most {largest:.1e}")
    for count, value in seconds.items():
        print(f"{count} processes: {value:.2f} s an epoch")
    if options.figure:
        draw(curves, options.figure)


def pretrained(processes: int, regions: int, epochs: int, out: Path) -> Run:
    """Pre-train in so many processes and return the run."""
    launcher = ["-m", "torch.distributed.run", f"--nproc-per-node={processes}"] if processes > 1 else []
    changes = [
        f"city.demo.regions={regions}", f"pretrain.epochs={epochs}", f"pretrain.patience={epochs}", "tasks={}",
        "report.figures=false",
    ]  # fmt: skip
    command = [*launcher, "-m", "urbankit", "run", "urbanmmcl", "--out", str(out)]
    subprocess.run([sys.executable, *command, *(f"--set={change}" for change in changes)], check=True)
    return Run.open(out)


def totals(run: Run) -> pd.DataFrame:
    """The total loss by epoch, of training and of held-out regions."""
    history = run.history[(run.history["stage"] == "pretrain") & (run.history["name"] == "total")]
    return history.pivot(index="epoch", columns="part", values="value")


def draw(curves: dict[int, pd.DataFrame], path: Path) -> None:
    """Draw the curves of all runs; those of several processes as dots."""
    with matplotlib.rc_context({"font.size": 8, "axes.spines.top": False, "axes.spines.right": False}):
        figure = Figure(figsize=(5, 2.6), layout="constrained")
        axes = figure.subplots()
        for (count, curve), look in zip(curves.items(), ("-", "."), strict=True):
            processes = "one process" if count == 1 else f"{count} processes"
            for part, colour in (("train", "#0072b2"), ("validation", "#d55e00")):
                name = "training" if part == "train" else "held-out regions"
                axes.plot(curve.index + 1, curve[part], look, color=colour, label=f"{name}, {processes}")
        axes.set(xlabel="epoch", ylabel="total loss")
        axes.legend(frameon=False)
        figure.savefig(path, dpi=200)


if __name__ == "__main__":
    main()
