"""Mutate files of every format, read them, and report what is neither read nor refused with a message.

    PYTHONPATH=tests python -m campaigns.mutate --count 5000 --seed 1 --only table --failures /tmp/failures

Mutations run in a process of their own, so that a crash of native code or a hang is known by its number. It is forked
before any library has started threads. Each failing file is kept with its seed and number in its name.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import resource
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path

from campaigns.attempts import FAILED, SECONDS, Result, attempts
from campaigns.folders import FOLDERS
from campaigns.formats import FORMATS

from urbankit import registry
from urbankit.utils.errors import UserError

CASES = {**FORMATS, **FOLDERS}
STOPPED = 4 * SECONDS
"""Processor seconds after which a mutation that has not ended is stopped."""
WAITED = 900
"""Wall seconds likewise, for a process that waits for something that does not come."""
ROOM = 12 << 30
"""Bytes of address space that a process may take beyond what it has at the start."""


@dataclass
class Outcome:
    """What came of the mutations of a case."""

    name: str
    counts: Counter[str] = field(default_factory=Counter)
    failures: list[Result] = field(default_factory=list)
    slowest: float = 0.0
    seconds: float = 0.0

    def __str__(self) -> str:
        total = sum(self.counts.values())
        counts = ", ".join(f"{self.counts[key]:,} {key}" for key in ("read", "refused", "failed"))
        return (
            f"{self.name}: {total:,} mutations: {counts}; slowest {self.slowest:.1f} s; {self.seconds / 60:.1f} minutes"
        )


def work(name: str, numbers: range, seed: int, failures: Path, pipe: Connection) -> None:
    """Make the mutations of a case in this process, and send each result."""
    with tempfile.TemporaryDirectory(prefix="mutated-") as base:
        folder = Path(base).resolve()
        os.environ |= {"URBANKIT_CACHE": str(folder / "cache"), "TMPDIR": str(folder / "tmp")}
        for path in (folder / "tmp", folder / "files"):
            path.mkdir()
        tempfile.tempdir = str(folder / "tmp")
        os.chdir(folder / "files")
        log = os.open(folder / "log", os.O_WRONLY | os.O_CREAT)
        os.dup2(log, 2)
        try:
            case = CASES[name](folder / "files")
            limit_memory()
            for result in attempts(name, case, numbers, seed, failures, folder):
                pipe.send(result)
            pipe.send(None)
        except BaseException:
            pipe.send(traceback.format_exc())


def limit_memory() -> None:
    """Let allocations fail that a mutation makes beyond `ROOM`."""
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + ROOM, size + ROOM))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def run_case(name: str, count: int, seed: int, failures: Path, start: int = 0) -> Outcome:
    """Make the mutations of a case; a process that crashed or hangs is replaced."""
    outcome, number, context = Outcome(name), start, multiprocessing.get_context("fork")
    began = time.monotonic()
    crashes = 0
    while number < start + count and crashes < 20:
        receiver, sender = context.Pipe(duplex=False)
        worker = context.Process(target=work, args=(name, range(number, start + count), seed, failures, sender))
        worker.start()
        sender.close()
        reason = ""
        while True:
            try:
                if not _answers(worker.pid or 0, receiver):
                    reason = f"did not end in {STOPPED} s of processor time or {WAITED} s"
                    os.kill(worker.pid or 0, signal.SIGKILL)
                    break
                result = receiver.recv()
            except EOFError:
                reason = "the process ended"
                break
            if isinstance(result, str):
                raise RuntimeError(f"{name}: {result}")
            if result is None:
                number = start + count
                break
            number = result.number + 1
            outcome.counts[result.outcome] += 1
            outcome.slowest = max(outcome.slowest, result.seconds)
            if result.outcome == FAILED:
                outcome.failures.append(result)
        worker.join()
        if reason:
            crashes += 1
            outcome.counts[FAILED] += 1
            outcome.failures.append(Result(number, FAILED, 0.0, f"{reason}; exit status {worker.exitcode}"))
            number += 1
    outcome.seconds = time.monotonic() - began
    return outcome


def _answers(pid: int, receiver: Connection) -> bool:
    """Wait for what a process sends; False if it takes too long."""
    began, used = time.monotonic(), _processor_seconds(pid)
    while not receiver.poll(2):
        if time.monotonic() - began > WAITED or _processor_seconds(pid) - used > STOPPED:
            return False
    return True


def _processor_seconds(pid: int) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--start", type=int, default=0, help="number of the first mutation")
    parser.add_argument("--only", default="", help="beginnings of names of cases, separated by commas")
    parser.add_argument("--failures", type=Path, default=Path(tempfile.gettempdir()) / "mutated-failures")
    options = parser.parse_args()
    for entry in registry.entries():  # components are imported before the processes are forked
        with suppress(UserError):
            registry.get(entry.kind, entry.name)
    failed = 0
    for name in CASES:
        if name.startswith(tuple(options.only.split(","))):
            try:
                outcome = run_case(name, options.count, options.seed, options.failures, options.start)
            except RuntimeError as error:  # the case itself is wrong
                failed += 1
                print(error, flush=True)
                continue
            failed += len(outcome.failures)
            print(outcome, flush=True)
            for result in outcome.failures[:10]:
                print(f"  number {result.number} ({result.file}): {result.reason[-1500:]}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
