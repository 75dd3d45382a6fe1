"""Tables as Markdown, as GitHub renders it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from urbankit.tables.table import Cell, Row, Table, percentage
from urbankit.utils.text import printable


def markdown(tables: Iterable[Table]) -> str:
    """The tables with their titles and notes; the best of a column bold, the second best underlined."""
    return "\n".join(_table(table) for table in tables)


def escape_markdown(text: str) -> str:
    """The text on one line, with everything escaped that Markdown or HTML would interpret."""
    return re.sub(r"([\\`*_{}\[\]<>|#~&$])", r"\\\1", printable(" ".join(text.split())))


def grid(table: Table) -> str:
    """The rows of a table alone, without its title and notes."""
    rows = [_row(row) for row in table.rows]
    rows += [[f"*{text}*", *map(percentage, percents)] for text, percents in table.improvements]
    if table.floors:  # GitHub's tables have no rules: an empty row stands for one
        rows += [[""] * (1 + len(table.columns)), *(_row(row, "*") for row in table.floors)]
    return _lines(table, rows)


def _table(table: Table) -> str:
    blocks = [f"## {escape_markdown(table.title)}"] if table.title else []
    blocks.append(grid(table))
    notes = [f"{table.explanation} **Best**, <u>second best</u>."] if table.explanation else []
    notes += map(escape_markdown, table.notes)
    if notes:
        blocks.append("\n".join(f"- {note}" for note in notes))
    if table.compared:
        tests = [[escape_markdown(row.label), *(cell.comparison for cell in row.cells)] for row in table.compared]
        blocks.append(f"{escape_markdown(table.reference)} less each row, and p after Holm's adjustment:")
        blocks.append(_lines(table, tests))
    return "\n\n".join(blocks) + "\n"


def _lines(table: Table, rows: Iterable[Sequence[str]]) -> str:
    headings = [escape_markdown(table.corner), *(escape_markdown(f"{c.group} {c.heading}") for c in table.columns)]
    head, *body = (f"| {' | '.join(cells)} |" for cells in (headings, *rows))
    return "\n".join([head, "|---|" + "---:|" * len(table.columns), *body])


def _row(row: Row, emphasis: str = "") -> list[str]:
    return [f"{emphasis}{escape_markdown(row.label)}{emphasis}", *map(_cell, row.cells)]


def _cell(cell: Cell) -> str:
    text = {1: f"**{cell}**", 2: f"<u>{cell}</u>"}.get(cell.rank, str(cell))
    return text + cell.mark
