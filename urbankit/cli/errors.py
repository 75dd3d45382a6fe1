"""Errors of the command line: one message on standard error and an exit status, without a traceback."""

from __future__ import annotations

import os
import sys
from typing import Any

import typer
from typer.core import TyperGroup

from urbankit.utils.errors import explain


class Group(TyperGroup):
    """The commands; each exception becomes a message. With `URBANKIT_DEBUG=1` tracebacks are shown."""

    def invoke(self, ctx: Any) -> Any:
        """Run a command."""
        try:
            return super().invoke(ctx)
        except (Exception, KeyboardInterrupt) as error:
            if _is_typer_own(error) or os.environ.get("URBANKIT_DEBUG"):
                raise
            status, lines = explain(error)
            for line in lines:
                print(line, file=sys.stderr)
            raise typer.Exit(status) from None


def _is_typer_own(error: BaseException) -> bool:
    """Whether typer itself handles the error: usage errors, exits and closed pipes."""
    return isinstance(error, typer.Exit | typer.Abort | BrokenPipeError) or hasattr(error, "format_message")
