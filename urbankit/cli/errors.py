"""What the command line says when something goes wrong: one message on stderr, an exit status, no traceback."""

from __future__ import annotations

import errno
import os
import sys
from typing import Any

import typer
from typer.core import TyperGroup

from urbankit.errors import UrbankitError

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


class Group(TyperGroup):
    """The commands, with every exception turned into a message. `URBANKIT_DEBUG=1` lets tracebacks through."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except (Exception, KeyboardInterrupt) as error:
            if _is_typer_own(error) or os.environ.get("URBANKIT_DEBUG"):
                raise
            status, lines = explain(error)
            for line in lines:
                print(line, file=sys.stderr)
            raise typer.Exit(status) from None


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


def _is_typer_own(error: BaseException) -> bool:
    """Usage errors, exits and closed pipes, which typer itself turns into a message and a status."""
    return isinstance(error, typer.Exit | typer.Abort | BrokenPipeError) or hasattr(error, "format_message")
