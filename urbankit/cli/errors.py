"""Errors of the command line: one message on standard error and an exit status, without a traceback."""

from __future__ import annotations

import os
from typing import Any

import typer
from typer.core import TyperGroup

from urbankit.utils.errors import explain
from urbankit.utils.streams import print_error


class Group(TyperGroup):
    """The commands; each exception becomes a message. With `URBANKIT_DEBUG=1` tracebacks are shown."""

    def invoke(self, ctx: Any) -> Any:
        """Run a command."""
        try:
            return super().invoke(ctx)
        except BaseException as error:  # the panic of a native library is no `Exception`
            if _is_of_typer(error) or os.environ.get("URBANKIT_DEBUG"):
                raise
            status, lines = explain(error)
            for line in lines:
                print_error(line)
            raise typer.Exit(status) from None


def _is_of_typer(error: BaseException) -> bool:
    """Whether typer or Python handles the error: usage errors, exits and closed pipes."""
    return isinstance(error, SystemExit | typer.Exit | typer.Abort | BrokenPipeError) or hasattr(
        error, "format_message"
    )
