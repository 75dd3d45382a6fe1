"""Printing: rich tables on a terminal, unbroken lines in a pipe, JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from urbankit.utils.text import printable

if TYPE_CHECKING:
    from rich.console import Console

    from urbankit.runs.context import RunContext


def console() -> Console:
    """Standard output. In a pipe lines are wide, so that each row of a table is one line."""
    from urbankit.utils.console import SafeConsole

    return SafeConsole(width=None if sys.stdout.isatty() else 240, highlight=False)


def print_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table; `title` may be empty. In a pipe columns are aligned by spaces, without the time to import rich."""
    if not sys.stdout.isatty():
        _print_plain(title, columns, list(rows))
        return
    from rich.table import Table
    from rich.text import Text

    heading = Text(printable(title)) if title else None
    table = Table(title=heading, title_justify="left", header_style="bold", show_header=any(columns))
    for column in columns:
        table.add_column(Text(printable(column)), overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    console().print(table)


def _print_plain(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    lines = [[printable(cell) for cell in row] for row in ([columns, *rows] if any(columns) else rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in [[printable(title)]] * bool(title) + lines:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=False)).rstrip())


def print_json(value: Any) -> None:
    """Print a value as JSON."""
    print(json.dumps(value, indent=2, ensure_ascii=False, default=str))


def plain_json(row: Mapping[Any, Any]) -> dict[str, Any]:
    """A row of a table for JSON; missing values are null."""
    return {str(name): None if value is None or value != value else value for name, value in row.items()}


def figure(value: Any) -> str:
    """A value as a cell: numbers with four digits, a dash for a missing value, control characters escaped."""
    if value is None or value != value:
        return "–"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    return printable(str(value))


def units(context: RunContext) -> dict[str, str]:
    """The unit of each target that has one."""
    return {task.name: task.unit for task in context.tasks if task.unit}


def with_units(columns: Iterable[str], context: RunContext) -> list[str]:
    """Names of columns, with units for targets."""
    by_target = units(context)
    return [f"{name} ({by_target[name]})" if name in by_target else str(name) for name in columns]


def warn(sentences: Iterable[str]) -> None:
    """Print sentences about missing data to standard error."""
    from urbankit.utils.streams import print_error

    for sentence in sentences:
        print_error(sentence)
