"""Tables on a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from rich import box
from rich.console import Console, RenderableType
from rich.table import Table as Grid
from rich.text import Text

from urbankit.tables.table import Cell, Table, percentage


def show(tables: Iterable[Table], console: Console) -> None:
    """Print the tables with their titles and notes."""
    for table in tables:
        console.print()
        for part in render(table, console, console.width):
            console.print(part, soft_wrap=isinstance(part, Text))


def render(table: Table, console: Console, width: int) -> Iterator[RenderableType]:
    """The parts of a table: its title, one grid or, if that is wider than `width`, one per group of columns, and notes.

    The best of a column is bold, the second best underlined.
    """
    if table.title:
        yield Text(table.title, style="bold")
    grid = _grid(table)
    if console.measure(grid, options=console.options.update(max_width=10_000)).maximum <= width:
        yield grid
    else:
        yield from (_grid(one) for one in table.split_by_group())
    yield from map(Text, table.notes)


def _grid(table: Table) -> Grid:
    grid = Grid(box=box.SIMPLE_HEAD, pad_edge=False)
    grid.add_column(Text(f"\n{table.corner}"))
    for group, positions in table.groups.items():
        for position in positions:
            above = group if position == positions[0] else ""
            heading = Text(f"{above}\n{table.columns[position].heading}")
            grid.add_column(heading, justify="right", no_wrap=True)
    for rows in (table.rows, table.floors):
        for row in rows:
            grid.add_row(Text(row.label), *map(_cell, row.cells), end_section=row is rows[-1])
    for text, percents in table.improvements:
        grid.add_row(Text(text), *(Text(percentage(percent)) for percent in percents))
    return grid


def _cell(cell: Cell) -> Text:
    return Text(str(cell), style={1: "bold", 2: "underline"}.get(cell.rank, "")) + cell.mark
