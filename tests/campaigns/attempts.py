"""One mutation after the other: what is read, refused or wrong, in processor time, memory and files touched."""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import sys
import sysconfig
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from campaigns.mutations import Change

import urbankit
from urbankit.utils.errors import UserError

SECONDS = 10
"""Most processor seconds of one mutation. Wall time would measure what else the machine does."""
MEMORY = 2 << 30
"""Most bytes that one mutation may add to the memory of the process."""
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
REFUSED, READ, FAILED = "refused", "read", "failed"


@dataclass
class Case:
    """Files, how they are changed, and how they are read.

    Attributes:
        files: The files of which one is changed at a time, each with its change.
        load: Reads them; returns the numbers that were read, in a form whose `repr` is complete.
        same: Whether a change must be refused unless the numbers are those of the unchanged files.
        refusable: Whether a change may be refused at all. A damaged cache may not stop anything.
    """

    files: list[tuple[Path, Change]]
    load: Callable[[], object]
    same: bool = False
    refusable: bool = True


@dataclass(frozen=True)
class Result:
    """What came of the mutation with a number: `refused`, `read` or `failed`, and why it failed."""

    number: int
    outcome: str
    seconds: float
    reason: str = ""
    file: Path | None = None


def attempts(name: str, case: Case, numbers: range, seed: int, failures: Path, folder: Path) -> Iterator[Result]:
    """Make mutations of a case, one after the other.

    Args:
        name: The name of the case.
        case: The case, whose files are as they were after each mutation.
        numbers: The numbers of the mutations; with `seed` each determines what is changed.
        seed: The seed.
        failures: Where a file that made one fail is kept.
        folder: The only folder that may be written to.
    """
    original = {path: path.read_bytes() for path, _ in case.files}
    expected = digest(case.load())
    for number in numbers:
        rng = random.Random(f"{name} {seed} {number}")
        path, change = rng.choice(case.files)
        path.write_bytes(change(rng, original[path]))
        # Checks of some files are cached by the time of change, whose clock ticks slower than mutations are made.
        os.utime(path, ns=(number * 10**9, number * 10**9 + seed))
        result = _attempt(case, number, expected, folder)
        if result.outcome == FAILED:
            kept = failures / f"{name}-{seed}-{number}-{path.name}"
            failures.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, kept)
            result = Result(number, FAILED, result.seconds, result.reason, kept)
        path.write_bytes(original[path])
        yield result


def _attempt(case: Case, number: int, expected: str, folder: Path) -> Result:
    outcome, reason, before = READ, "", _start_memory()
    wrong: BaseException | None = None
    started = time.process_time()
    with warnings.catch_warnings(), watched(folder) as touched:
        warnings.simplefilter("ignore")
        try:
            value = digest(case.load())
        except UserError as error:
            outcome = REFUSED if case.refusable else FAILED
            reason = "" if case.refusable else f"refused: {error}"
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # (a panic of Polars is no Exception)
            outcome, wrong = FAILED, error
        else:
            if case.same and value != expected:
                outcome, reason = FAILED, "other numbers were read, and nothing was said"
    seconds = time.process_time() - started
    if wrong is not None:  # outside `watched`, because it reads the files of the code
        reason = "".join(traceback.format_exception(wrong))
    added = _peak_memory() - before
    if touched:
        outcome, reason = FAILED, f"{reason}\ntouched {touched[:5]}"
    if seconds > SECONDS:
        outcome, reason = FAILED, f"{reason}\n{seconds:.1f} s of processor time"
    if added > MEMORY:
        outcome, reason = FAILED, f"{reason}\n{added >> 20} MiB of memory"
    return Result(number, outcome, seconds, reason)


def digest(value: object) -> str:
    """A hash of the text of a value."""
    return hashlib.sha256(repr(value).encode("utf-8", "surrogatepass")).hexdigest()


_FOLDERS: list[Path] = []
_TOUCHED: list[str] = []
_READABLE = tuple(
    str(Path(path).resolve())
    for path in {
        sys.prefix, sys.base_prefix, *sysconfig.get_paths().values(), Path(urbankit.__file__).parents[1],
        "/proc", "/sys", "/dev", "/usr", "/etc", "/lib", "/opt",
    }
)  # fmt: skip


@contextmanager
def watched(folder: Path) -> Iterator[list[str]]:
    """Collect what Python code opens, changes, starts or connects to outside `folder`."""
    _install()
    _TOUCHED.clear()
    _FOLDERS.append(folder.resolve())
    try:
        yield _TOUCHED
    finally:
        _FOLDERS.pop()


def _install() -> None:
    if not _HOOKED:
        _HOOKED.append(True)
        sys.addaudithook(_hook)


_HOOKED: list[bool] = []
_CHANGES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "os.symlink", "os.link", "os.chmod"}
_REFUSED = {"socket.connect", "socket.getaddrinfo", "subprocess.Popen", "os.system", "os.exec", "pickle.find_class"}


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    if not _FOLDERS:
        return
    if event in _REFUSED:
        _TOUCHED.append(f"{event} {arguments!r:.200}")
    elif event == "open" and isinstance(arguments[0], str | bytes | os.PathLike):
        writes = isinstance(arguments[2], int) and bool(arguments[2] & WRITES)
        _check_touched(event, arguments[0], writes)
    elif event in _CHANGES and isinstance(arguments[0], str | bytes | os.PathLike):
        _check_touched(event, arguments[0], True)


def _check_touched(event: str, path: Any, writes: bool) -> None:
    try:
        location = os.path.realpath(os.fsdecode(path))
    except ValueError:  # a NUL in the name: the call fails
        return
    inside = location.startswith(str(_FOLDERS[-1]))
    readable = location.startswith(_READABLE) and not location.startswith("/etc/passwd")
    if not inside and not (readable and not writes) and location != "/dev/null":
        _TOUCHED.append(f"{event} {location}")


def _start_memory() -> int:
    """Forget the peak of memory, where the system can, and return the memory in use."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return sys.maxsize
    return _memory("VmRSS")


def _peak_memory() -> int:
    return _memory("VmHWM")


def _memory(key: str) -> int:
    with suppress_missing(), open("/proc/self/status") as stream:  # noqa: PTH123
        for line in stream:
            if line.startswith(key):
                return int(line.split()[1]) << 10
    return 0


@contextmanager
def suppress_missing() -> Iterator[None]:
    """Ignore a system without /proc."""
    try:
        yield
    except OSError:
        return
