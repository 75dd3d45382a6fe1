"""Errors for users: every mistake at once, each with its file, line, key and remedy."""

from __future__ import annotations

import difflib
import errno
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

FAILED, WRONG_INPUT, INTERRUPTED = 1, 2, 130
"""Exit statuses of the command line."""


@dataclass(frozen=True)
class Problem:
    """One mistake.

    Attributes:
        message: What is wrong and what to do.
        file: The file that it is in.
        line: Its line in the file, counted from 1.
        key: The dotted key of the value: `tasks.co.head`.
    """

    message: str
    file: str | Path | None = None
    line: int | None = None
    key: str | None = None

    def __str__(self) -> str:
        position = "" if self.file is None else str(self.file)
        if self.line is not None:
            position += f":{self.line}"
        return ": ".join(part for part in (position, self.key, self.message) if part)


class Interrupted(KeyboardInterrupt):
    """A signal that ends the command, which is not to be taken for a `KeyboardInterrupt` that a plugin raises."""


class UrbankitError(Exception):
    """An error with a message for the user; the command line prints it without a traceback.

    Args:
        problems: A message, or one or several problems.
    """

    exit_status = FAILED

    def __init__(self, problems: str | Problem | Iterable[Problem]) -> None:
        if isinstance(problems, str):
            problems = [Problem(problems)]
        elif isinstance(problems, Problem):
            problems = [problems]
        self.problems: list[Problem] = list(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))

    def __reduce__(self) -> tuple:
        return type(self), (self.problems,)


class UserError(UrbankitError):
    """The user's input is wrong (exit status 2)."""

    exit_status = WRONG_INPUT


class RunError(UrbankitError):
    """The run failed for a reason other than the input, such as a full disk (exit status 1)."""


class Diverged(RunError):
    """The loss or the embeddings became infinite or NaN in training; running the same recipe again does not help."""


class Problems:
    """Collects mistakes, so that a user sees all of them in one message.

    >>> problems = Problems("city.yaml")
    >>> problems.add("file not found", key="flows.file")
    >>> problems.raise_if_any()
    Traceback (most recent call last):
    urbankit.utils.errors.UserError: city.yaml: flows.file: file not found
    """

    def __init__(self, file: str | Path | None = None) -> None:
        self.file = file
        self._problems: list[Problem] = []

    def add(
        self, message: str, *, key: str | None = None, line: int | None = None, file: str | Path | None = None
    ) -> None:
        """Add a mistake in `file`, by default in the file of the collection."""
        self._problems.append(Problem(message, self.file if file is None else file, line, key))

    def extend(self, problems: Iterable[Problem]) -> None:
        """Add several mistakes."""
        self._problems.extend(problems)

    def sorted(self) -> list[Problem]:
        """Return the mistakes file by file from the first line to the last, those of the command line at the end."""
        files = list(dict.fromkeys(str(problem.file) for problem in self._problems))
        files.sort(key=lambda file: file.startswith("--"))
        return sorted(self._problems, key=lambda problem: (files.index(str(problem.file)), problem.line or 0))

    @contextmanager
    def collect(self, key: str | None = None) -> Iterator[None]:
        """Collect the problems of a `UserError` raised in the block; those without a key get `key`."""
        try:
            yield
        except UserError as error:
            self.extend(replace(problem, key=problem.key or key) for problem in error.problems)

    def raise_if_any(self) -> None:
        """Raise a `UserError` with all mistakes, if there are any."""
        if self._problems:
            raise UserError(self.sorted())

    def __bool__(self) -> bool:
        return bool(self._problems)

    def __iter__(self) -> Iterator[Problem]:
        return iter(self._problems)


def unwritable(folder: Path, what: str, error: OSError) -> UrbankitError:
    """Return the error to raise if the folder that `--out` names cannot be created or written."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return RunError(f"{folder}: the disk is full; make room and run again.")
    if error.errno == errno.EFBIG:
        return RunError(f"{folder}: {REMEDIES[errno.EFBIG][1]}")
    if folder.exists() and not folder.is_dir():
        return UserError(f"{folder}: is a file, not a folder. Choose another --out.")
    return UserError(f"{folder}: {what} cannot be written ({error.strerror or error}). Choose another --out.")


MAX_COMPARED, LONGEST_COMPARED, MAX_LISTED = 2000, 200, 100
"""The most names that `suggest` compares, the longest it compares, and the most that it lists."""


def suggest(name: str, options: Iterable[str]) -> str:
    """Return `" Did you mean 'vit'?"` if `name` is close to one of `options`, otherwise a list of all options."""
    names = sorted(options)
    few = len(names) <= MAX_COMPARED and len(name) <= LONGEST_COMPARED
    closest = difflib.get_close_matches(name, names, n=2, cutoff=0.6) if few else []
    if closest:
        return " Did you mean " + " or ".join(f"'{match}'" for match in closest) + "?"
    more = f", … ({len(names):,} in all)" if len(names) > MAX_LISTED else ""
    return f" Known: {', '.join(names[:MAX_LISTED])}{more}." if names else ""


_AGAIN = "free some space and repeat the command, a run with --resume"
REMEDIES = {
    errno.ENOSPC: (FAILED, f"the disk is full; {_AGAIN}"),
    errno.EFBIG: (FAILED, "a limit to the size of files is reached; raise it with `ulimit -f`, and run again"),
    errno.EDQUOT: (FAILED, f"the disk quota is used up; {_AGAIN}"),
    errno.EACCES: (WRONG_INPUT, "no permission; choose another folder or change its permissions"),
    errno.EPERM: (WRONG_INPUT, "not permitted; choose another folder or change its permissions"),
    errno.EROFS: (WRONG_INPUT, "the file system is read-only; choose another folder"),
}


def explain(error: BaseException) -> tuple[int, list[str]]:
    """Return the exit status of a command that `error` ended, and the lines that explain it to the user."""
    if isinstance(error, UrbankitError):
        return error.exit_status, [f"error: {problem}" for problem in error.problems]
    if isinstance(error, KeyboardInterrupt):
        return INTERRUPTED, ["interrupted; repeat the command to continue, a run with --resume"]
    if isinstance(error, MemoryError):
        return FAILED, ["error: out of memory; use smaller batches (pretrain.batch_size) or fewer regions"]
    if isinstance(error, OSError) and error.errno is not None:
        status, remedy = REMEDIES.get(error.errno, (FAILED, os.strerror(error.errno)))
        file = f"{error.filename}: " if error.filename else ""
        return status, [f"error: {file}{remedy}"]
    try:
        text = str(error)
    except Exception:  # a plugin's own error class may be broken as well
        text = "its message cannot be shown"
    return FAILED, [
        f"error: {type(error).__name__}: {text}",
        "This is a bug in urbankit or in a plugin. Set URBANKIT_DEBUG=1 to see where it happened.",
    ]
