"""Kill commands at moments of writing, damage files, give the same command again, and compare the bytes.

    python tests/campaigns/kills.py --count 300 --seed 0

Each trial runs one command in a process of its own. Before the n-th change of a file or folder the process gets
SIGKILL, SIGTERM, SIGINT, two SIGINT or SIGHUP; a worker process of `bench` gets it as well, if it makes that change.
In every third trial one of the written files is then cut. The same command (a run with `--resume` once it has a
manifest) must end with status 0 and the same files as an undisturbed one, with nothing left over.
"""

from __future__ import annotations

import argparse
import math
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from changes import Kill

import urbankit.api
import urbankit.bench.run
import urbankit.modalities.encode
import urbankit.pipeline.check
import urbankit.pipeline.run
from urbankit.cli.main import main

SIGNALS = {
    "SIGKILL": [signal.SIGKILL],
    "SIGTERM": [signal.SIGTERM],
    "SIGINT": [signal.SIGINT],
    "SIGINT twice": [signal.SIGINT, signal.SIGINT],
    "SIGHUP": [signal.SIGHUP],
}
TIMEOUT = 1500
VOLATILE = ("urbankit-files.jsonl", "exports.json", ".gpkg", "report.html", "README.md", ".log")
RUNS = ("run/", "bench/runs/")
"""Files with times in them, whose bytes differ between two undisturbed commands."""
MANIFESTS = ("manifest.json", "manifest-copy.json")

RECIPE = """
name: killed
seed: 1
city: {{prepared: {city}}}
modalities: {{poi: {{name: poi_counts}}}}
views: {{poi: {{name: poi}}, distance: {{name: distance}}}}
method: {{name: urbanmmcl, dim: 4}}
pretrain: {{epochs: 3, batch_size: 32, learning_rate: 0.01}}
finetune: {{epochs: 3, patience: 0}}
tasks: {{population_density: {{head: {{name: linear}}}}}}
evaluation: {{splits: [random], seeds: [0, 1], floors: [mean, raw-ridge]}}
report: {{figures: false}}
"""

SUITE = """
seeds: [0, 1]
runs: {{killed: {recipe}}}
overrides: {{pretrain.epochs: 2, evaluation.seeds: [0], evaluation.floors: [mean]}}
"""
ENCODER = ["layers=1", "hidden_size=16", "heads=1", "image_size=32", "patch_size=16"]


@dataclass
class Command:
    """A command line, made for an output folder, and what it needs to run first."""

    name: str
    arguments: Callable[[Path, Path], list[str]]
    after: tuple[str, ...] = ()

    def line(self, base: Path, out: Path, again: bool = False, cut: bool = False) -> list[str]:
        """The arguments; a run that has a manifest is resumed, and an export is told to replace changed files."""
        resumed = ["--resume"] if again and self.name == "run" and (out / "run" / "manifest.json").exists() else []
        replaced = ["--force"] if cut and self.name in ("export", "model") else []
        return self.arguments(base, out) + resumed + replaced


COMMANDS = {
    "prepare": Command(
        "prepare", lambda base, out: ["prepare", str(base / "demo/city.yaml"), "--out", str(out / "city")]
    ),
    "caption": Command("caption", lambda base, out: ["caption", str(base / "city"), "--out", str(out / "captions")]),
    "encode": Command(
        "encode",
        lambda base, out: [
            *["encode", str(base / "larger-city"), "--modality", "svi", "--encoder", "vit", "--rows", "128"],
            *[word for parameter in ENCODER for word in ("--set", parameter)],
            *["--out", str(out / "features")],
        ],
    ),
    "run": Command("run", lambda base, out: ["run", str(base / "r.yaml"), "--out", str(out / "run")]),
    "report": Command("report", lambda base, out: ["report", str(out / "run")], after=("run",)),
    "export": Command(
        "export", lambda base, out: ["export", str(out / "run"), "--to", "csv", "--to", "npy"], after=("run",)
    ),
    "model": Command(
        "model",
        lambda base, out: ["export", str(out / "run"), "--to", "model", "--out", str(out / "model")],
        after=("run",),
    ),
    "predict": Command(
        "predict",
        lambda base, out: ["predict", str(out / "run"), "--out", str(out / "predictions.csv"), "--force"],
        after=("run",),
    ),
    "embed": Command(
        "embed",
        lambda base, out: [
            *["embed", str(out / "run"), str(base / "city")],
            *["--out", str(out / "embeddings.parquet"), "--force"],
        ],
        after=("run",),
    ),
    "bench": Command("bench", lambda base, out: ["bench", str(base / "suite.yaml"), "--out", str(out / "bench")]),
}


def child(arguments: list[str], log: Path, kill: Kill | None, cache: Path) -> int:
    """Run a command in a forked process and return its exit status, negative for a signal."""
    pid = os.fork()
    if pid == 0:
        try:
            _become(arguments, log, kill, cache)
        finally:
            os._exit(70)
    deadline = time.monotonic() + TIMEOUT
    while time.monotonic() < deadline:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.02)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return -99


def _become(arguments: list[str], log: Path, kill: Kill | None, cache: Path) -> None:
    os.environ["URBANKIT_CACHE"] = str(cache)
    stream = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(stream, 1)
    os.dup2(stream, 2)
    if kill is not None:
        kill.to_environment()
        kill.install()
    sys.argv = ["urbankit", *arguments]
    try:
        main()
    except SystemExit as exited:
        sys.stdout.flush()
        os._exit(int(exited.code or 0))
    except BaseException:
        os._exit(71)


def contents(folder: Path) -> dict[str, bytes]:
    """The files of a folder; of volatile ones and manifests with times only their names."""
    files = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            name = path.relative_to(folder).as_posix()
            fixed = not name.endswith(VOLATILE) and not (name.startswith(RUNS) and name.endswith(MANIFESTS))
            fixed = fixed and "checkpoints/" not in name
            files[name] = _content(path) if fixed else b""
    return files


def _content(path: Path) -> bytes:
    """The bytes of a file; of the results of a suite all that is no time."""
    if path.name != "results.parquet":
        return path.read_bytes()
    results = pd.read_parquet(path)
    return results[~results["metric"].str.contains("seconds")].to_csv().encode()


def differences(expected: dict[str, bytes], out: Path) -> list[str]:
    """What differs from an undisturbed command, a sentence each."""
    actual = contents(out)
    differing = [f"{name} is missing" for name in expected.keys() - actual.keys()]
    differing += [f"{name} is left over" for name in actual.keys() - expected.keys()]
    differing += [
        f"{name} has other bytes" for name in expected.keys() & actual.keys() if expected[name] != actual[name]
    ]
    for folder in sorted(path for path in out.iterdir() if path.is_dir() and path.name != "captions"):
        differing += [str(problem) for problem in urbankit.pipeline.check.check_path(folder).problems]
    return sorted(differing)


class Campaign:
    """Trials of all commands in a temporary folder."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder, self.random = folder, random.Random(seed)
        self.base = folder / "base"
        self.cache = folder / "cache"
        self.log = folder / "log.txt"
        self.counts: Counter[tuple[str, str]] = Counter()
        self.failures: list[str] = []
        self.base.mkdir(parents=True)
        self._must("demo", "--out", str(self.base / "demo"), "--regions", "36")
        self._must("prepare", str(self.base / "demo/city.yaml"), "--out", str(self.base / "city"))
        self._must("demo", "--out", str(self.base / "larger"), "--regions", "100")
        self._must("prepare", str(self.base / "larger/city.yaml"), "--out", str(self.base / "larger-city"))
        (self.base / "r.yaml").write_text(RECIPE.format(city=self.base / "city"))
        (self.base / "suite.yaml").write_text(SUITE.format(recipe=self.base / "r.yaml"))

    def _must(self, *arguments: str) -> None:
        if child(list(arguments), self.log, None, self.cache):
            raise SystemExit(f"{' '.join(arguments)} failed:\n{self.log.read_text()[-3000:]}")

    def references(self, names: list[str]) -> Iterator[tuple[Command, dict[str, bytes], int, Path]]:
        """Each command with the files that it writes undisturbed, its number of changes, and the state before it."""
        for name in names:
            command, out = COMMANDS[name], self.folder / f"out-{name}"
            before = self.folder / f"before-{'-'.join(command.after)}"
            if not before.exists():
                before.mkdir()
                for needed in command.after:
                    self._must(*COMMANDS[needed].line(self.base, before))
            shutil.copytree(before, out)
            cache, tally = self.folder / f"cache-{name}", self.folder / f"changes-{name}"
            count_only = Kill([str(out), str(cache)], str(tally), 0, [])
            if child(command.line(self.base, out), self.log, count_only, cache):
                logs = [self.log, *out.glob("bench/logs/*")]
                raise SystemExit(f"{name} failed:\n" + "\n".join(log.read_text()[-3000:] for log in logs))
            yield command, contents(out), tally.stat().st_size, before

    def trial(self, command: Command, expected: dict[str, bytes], changes: int, before: Path, number: int) -> None:
        """Kill the command once, perhaps cut a file, give it again, and compare."""
        out, cache = self.folder / "trial", self.folder / "trial-cache"
        for folder in (out, cache):
            shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(before, out)
        kind, moment = self.random.choice(list(SIGNALS)), self.random.randint(1, changes)
        tally = self.folder / "trial-changes"
        tally.unlink(missing_ok=True)
        kill = Kill([str(out), str(cache)], str(tally), moment, [int(number) for number in SIGNALS[kind]])
        child(command.line(self.base, out), self.log, kill, cache)
        cut = self._cut(out, before) if number % 3 == 0 else None
        label = f"{command.name}, {kind} before change {moment} of {changes}" + (f", {cut}" if cut else "")
        start = self.log.stat().st_size
        status = child(command.line(self.base, out, again=True, cut=cut is not None), self.log, None, cache)
        faults = (
            [f"status {status}: {self.log.read_bytes()[start:][-600:].decode()}"]
            if status
            else differences(expected, out)
        )
        self.counts[command.name, kind + (" and a cut file" if cut else "")] += 1
        if faults:
            self.failures.append(f"{label}: {'; '.join(faults[:4])}")
            print(f"FAILED {self.failures[-1]}", flush=True)

    def _cut(self, out: Path, before: Path) -> str | None:
        """Cut a file that this command wrote."""
        written = [path for path in sorted(out.rglob("*")) if path.is_file() and path.stat().st_size]
        written = [path for path in written if not (before / path.relative_to(out)).exists()]
        written = [path for path in written if not path.name.startswith(".") and path.suffix != ".log"]
        if (out / "bench").is_dir():  # a user may edit these files of a run, so that a suite does not make them again
            written = [path for path in written if path.name not in ("README.md", "report.html")]
        if not written:
            return None
        path = self.random.choice(written)
        length = self.random.randrange(path.stat().st_size)
        os.truncate(path, length)
        return f"{path.relative_to(out)} cut to {length} bytes"


def run() -> int:
    """Run the campaign and print its figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=math.inf, help="Start no further trial after this time.")
    parser.add_argument("--commands", default=",".join(COMMANDS))
    options = parser.parse_args()
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="urbankit-kills-") as folder:
        campaign = Campaign(Path(folder), options.seed)
        commands = list(campaign.references(options.commands.split(",")))
        for number in range(options.count):
            if time.monotonic() - started > 60 * options.minutes:
                break
            campaign.trial(*commands[number % len(commands)], number)
        for (name, kind), count in sorted(campaign.counts.items()):
            print(f"{name:10} {kind:30} {count}", flush=True)
        minutes, kills = (time.monotonic() - started) / 60, campaign.counts.total()
        print(f"{kills} kills, seed {options.seed}: {len(campaign.failures)} failures, {minutes:.1f} min")
    return 1 if campaign.failures else 0


if __name__ == "__main__":
    sys.exit(run())
