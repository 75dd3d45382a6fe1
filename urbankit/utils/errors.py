"""What urbankit says when something is wrong: every mistake at once, each with its place and its remedy."""

from __future__ import annotations

import difflib
import errno
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path


@dataclass(frozen=True)
class Problem:
    """One mistake: where it stands (`file`, `line`, dotted `key`) and what is wrong and what to do (`message`)."""

    message: str
    file: str | Path | None = None
    line: int | None = None
    key: str | None = None

    def __str__(self) -> str:
        place = "" if self.file is None else str(self.file)
        if self.line is not None:
            place += f":{self.line}"
        return ": ".join(part for part in (place, self.key, self.message) if part)


class UrbankitError(Exception):
    """An error with a message for the user; the command line prints it without a traceback."""

    exit_status = 1

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

    exit_status = 2


class RunError(UrbankitError):
    """The run failed for a reason outside the input, such as a full disk (exit status 1)."""


class Diverged(RunError):
    """Training came to a loss or embeddings that are not finite: the same recipe would again."""


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
        self._found: list[Problem] = []

    def add(
        self, message: str, *, key: str | None = None, line: int | None = None, file: str | Path | None = None
    ) -> None:
        self._found.append(Problem(message, self.file if file is None else file, line, key))

    def extend(self, problems: Iterable[Problem]) -> None:
        self._found.extend(problems)

    @contextmanager
    def collect(self, key: str | None = None) -> Iterator[None]:
        """Collect the problems of a `UserError` raised in the block; those without a key get `key`."""
        try:
            yield
        except UserError as error:
            self.extend(replace(problem, key=problem.key or key) for problem in error.problems)

    def raise_if_any(self) -> None:
        if self._found:
            raise UserError(self._found)

    def __bool__(self) -> bool:
        return bool(self._found)

    def __iter__(self) -> Iterator[Problem]:
        return iter(self._found)


def unwritable(folder: Path, what: str, error: OSError) -> UrbankitError:
    """What to raise where `folder`, that of `--out`, cannot be made or written."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return RunError(f"{folder}: the disk is full; make room and run again.")
    if folder.exists() and not folder.is_dir():
        return UserError(f"{folder}: is a file, not a folder. Choose another --out.")
    return UserError(f"{folder}: {what} cannot be written ({error.strerror or error}). Choose another --out.")


def suggest(name: str, known: Iterable[str]) -> str:
    """`" Did you mean 'vit'?"` for a near miss, otherwise the known names, otherwise nothing."""
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=2, cutoff=0.6)
    if near:
        return " Did you mean " + " or ".join(f"'{match}'" for match in near) + "?"
    return f" Known: {', '.join(names)}." if names else ""


FAILED, WRONG_INPUT, INTERRUPTED = 1, 2, 130

REMEDIES = {
    errno.ENOSPC: (FAILED, "the disk is full; free some space and give the same command again, a run with --resume"),
    errno.EDQUOT: (
        FAILED,
        "the disk quota is used up; free some space and give the same command again, a run with --resume",
    ),
    errno.EACCES: (WRONG_INPUT, "no permission; choose another folder or change its permissions"),
    errno.EPERM: (WRONG_INPUT, "not permitted; choose another folder or change its permissions"),
    errno.EROFS: (WRONG_INPUT, "the file system is read-only; choose another folder"),
}


def explain(error: BaseException) -> tuple[int, list[str]]:
    """The exit status and the lines that tell the user what `error` means."""
    if isinstance(error, UrbankitError):
        return error.exit_status, [f"error: {problem}" for problem in error.problems]
    if isinstance(error, KeyboardInterrupt):
        return INTERRUPTED, ["interrupted; give the same command again to go on, a run with --resume"]
    if isinstance(error, MemoryError):
        return FAILED, ["error: out of memory; use smaller batches (pretrain.batch_size) or fewer regions"]
    if isinstance(error, OSError) and error.errno is not None:
        status, remedy = REMEDIES.get(error.errno, (FAILED, os.strerror(error.errno)))
        place = f"{error.filename}: " if error.filename else ""
        return status, [f"error: {place}{remedy}"]
    return FAILED, [
        f"error: {type(error).__name__}: {error}",
        "This is a fault of urbankit or of a plugin. URBANKIT_DEBUG=1 shows where it happened.",
    ]
