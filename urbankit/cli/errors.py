"""Errors of the command line: one message on standard error and an exit status, without a traceback."""

from __future__ import annotations

import os
import signal
import threading
import warnings
from types import FrameType
from typing import Any

import typer
from typer.core import TyperGroup

from urbankit.utils.errors import Interrupted, explain
from urbankit.utils.streams import print_error


class Group(TyperGroup):
    """The commands; each exception becomes a message. With `URBANKIT_DEBUG=1` tracebacks are shown."""

    def invoke(self, ctx: Any) -> Any:
        """Run a command."""
        _handle_signals()
        warnings.showwarning = _show_warning
        try:
            return super().invoke(ctx)
        except BaseException as error:  # the panic of a native library is no `Exception`
            if _is_of_typer(error) or (os.environ.get("URBANKIT_DEBUG") and not isinstance(error, SystemExit)):
                raise
            from urbankit.registry.failure import explained

            status, lines = explain(explained(error))
            for line in lines:
                print_error(line)
            raise typer.Exit(status) from None


def _handle_signals() -> None:
    """Let SIGTERM and SIGHUP interrupt a command as Ctrl-C does, so that it cleans up."""

    def interrupt(signum: int, frame: FrameType | None) -> None:
        raise Interrupted

    if threading.current_thread() is threading.main_thread():
        for name in ("SIGTERM", "SIGHUP"):
            kind = getattr(signal, name, None)
            if kind is not None and signal.getsignal(kind) is signal.SIG_DFL:
                signal.signal(kind, interrupt)


_show = warnings.showwarning


def _show_warning(message: Any, category: type[Warning], *location: Any, **more: Any) -> None:
    """Print a warning of urbankit as one line, without the place in the code."""
    if category.__module__.startswith("urbankit."):
        print_error(f"warning: {message}")
    else:
        _show(message, category, *location, **more)


def _is_of_typer(error: BaseException) -> bool:
    """Whether typer itself handles the error: usage errors, exits and closed pipes."""
    return isinstance(error, typer.Exit | typer.Abort | BrokenPipeError) or hasattr(error, "format_message")
