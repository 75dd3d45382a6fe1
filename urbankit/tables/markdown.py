"""Tables as Markdown, as GitHub renders it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from urbankit.tables import format as wording
from urbankit.tables.comparison import Column, Entry, Line, Table


def markdown(tables: Iterable[Table]) -> str:
    """Each table with its heading and notes, and the tests behind it; the best bold, the second best underlined."""
    return "\n".join(_table(table) for table in tables) or "No run is finished.\n"


def _table(table: Table) -> str:
    heads = [_escaped(f"{column.label} {column.heading}") for column in table.columns]
    lines = [f"## {_escaped(table.title)}", "", *_head("", heads)]
    lines += [_row(_escaped(line.label), _values(line, table.columns)) for line in table.rows]
    for label, percents in table.improvements:
        lines.append(_row(f"*{label}*", [wording.improvement(percent) for percent in percents]))
    # A table of GitHub's has no rules: an empty row stands for one.
    lines += [_row("", [""] * len(heads))] if table.floors else []
    lines += [_row(f"*{_escaped(line.label)}*", _values(line, table.columns)) for line in table.floors]
    lines += ["", "- Mean ± sample standard deviation over pairs of seeds; **best**, <u>second best</u>."]
    lines += [f"- {_escaped(note)}" for note in table.notes]
    if table.tested:
        lines += ["", f"{_escaped(table.reference)} less each row, and p after Holm's adjustment:", ""]
        lines += _head("", heads)
        lines += [
            _row(_escaped(line.label), map(wording.comparison, line.entries, table.columns)) for line in table.tested
        ]
    return "\n".join(lines) + "\n"


def _head(corner: str, heads: Sequence[str]) -> list[str]:
    return [_row(corner, heads), "|---|" + "---:|" * len(heads)]


def _row(label: str, cells: Iterable[str]) -> str:
    return f"| {' | '.join([label, *cells])} |"


def _values(line: Line, columns: Sequence[Column]) -> list[str]:
    return [_value(entry, column) for entry, column in zip(line.entries, columns, strict=True)]


def _value(entry: Entry, column: Column) -> str:
    text = wording.value(entry, column)
    text = {1: f"**{text}**", 2: f"<u>{text}</u>"}.get(entry.rank, text)
    return text + wording.mark(entry, column)


def _escaped(text: str) -> str:
    """Text in which nothing is Markdown or HTML: names come from users."""
    return re.sub(r"([\\`*_{}\[\]<>|#~])", r"\\\1", " ".join(text.split()))
