"""What the command line says when something goes wrong: one message on stderr, an exit status, no traceback."""

from __future__ import annotations

import os
import sys
from typing import Any

import typer
from typer.core import TyperGroup

from urbankit.utils.errors import explain


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


def _is_typer_own(error: BaseException) -> bool:
    """Usage errors, exits and closed pipes, which typer itself turns into a message and a status."""
    return isinstance(error, typer.Exit | typer.Abort | BrokenPipeError) or hasattr(error, "format_message")
