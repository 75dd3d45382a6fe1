"""Run code of a plugin so that it does not affect the rest if it raises, exits, prints or is slow."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from types import FrameType

from urbankit.utils.errors import Interrupted

SLOW = 5.0
"""Seconds after which a plugin that is still loading is named."""


class PluginError(Exception):
    """The error of a plugin, as printable text."""


@contextmanager
def contained(plugin: str, slow: float | None = None, *, name_if_slow: bool = True) -> Iterator[None]:
    """Turn anything that the block raises into a `PluginError`, except a signal that ends the command.

    What it prints goes to standard error.

    Args:
        plugin: The name and origin of the plugin, for a line on standard error if the block takes long.
        slow: Seconds after which that line is printed; default `SLOW`.
        name_if_slow: Whether that line is printed at all; urbankit's own components cannot be left out.
    """
    timer = threading.Timer(SLOW if slow is None else slow, _say_slow, [plugin])
    timer.daemon = True
    if name_if_slow:
        timer.start()
    try:
        with _own_interrupt(), redirect_stdout(sys.stderr):
            yield
    except Interrupted:
        raise
    except BaseException as error:
        raise PluginError(describe(error)) from error
    finally:
        timer.cancel()


def describe(error: BaseException) -> str:
    """Return the type and message of an error on one line, also if its own methods fail."""
    return f"{type(error).__name__}: {' '.join(safe_text(error).split())}"


def safe_text(value: object) -> str:
    """Return `str(value)`, or a description if that fails."""
    try:
        return str(value)
    except BaseException:  # whatever a plugin's own method raises
        return f"a {type(value).__name__} whose text cannot be shown"


def _say_slow(plugin: str) -> None:
    message = f"plugin {plugin} is still loading; URBANKIT_PLUGINS or --no-plugins leaves it out"
    print(message, file=sys.stderr, flush=True)


@contextmanager
def _own_interrupt() -> Iterator[None]:
    """Raise `Interrupted` on Ctrl-C during the block."""

    def interrupt(signum: int, frame: FrameType | None) -> None:
        raise Interrupted

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = signal.getsignal(signal.SIGINT)
    if previous is not signal.default_int_handler:
        yield
        return
    signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)
