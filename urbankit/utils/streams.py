"""Standard output and standard error: messages without control characters, on every encoding."""

from __future__ import annotations

import sys
from contextlib import suppress

from urbankit.utils.text import printable


def print_error(text: str) -> None:
    """Print a message to standard error, control characters escaped."""
    print(printable(text, keep="\n"), file=sys.stderr)


def replace_unencodable() -> None:
    """Let standard output and error escape the characters that their encoding lacks, instead of failing."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(AttributeError, ValueError):  # closed, or replaced by a program that embeds urbankit
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]  # a TextIOWrapper has it
