"""Tables on a terminal: one block a task, as the results table of a run."""

from __future__ import annotations

from collections.abc import Iterable

from rich import box
from rich.console import Console
from rich.table import Table as Grid
from rich.text import Text

from urbankit.tables import format as wording
from urbankit.tables.comparison import Table


def show(tables: Iterable[Table], console: Console) -> None:
    """Print the tables with their notes; the best of a column bold, the second best underlined."""
    for table in tables:
        console.print()
        console.print(Text(table.title, style="bold"))
        for task in dict.fromkeys(column.task for column in table.columns):
            console.print(_block(table, [i for i, column in enumerate(table.columns) if column.task == task]))
        for note in table.notes:
            console.print(Text(note), soft_wrap=True)


def _block(table: Table, places: list[int]) -> object:
    grid = Grid(box=box.SIMPLE_HEAD, pad_edge=False)
    grid.add_column(Text(table.columns[places[0]].label))
    for place in places:
        grid.add_column(Text(table.columns[place].heading), justify="right", no_wrap=True)
    for lines in (table.rows, table.floors):
        for line in lines:
            cells = []
            for place in places:
                entry = line.entries[place]
                style = {1: "bold", 2: "underline"}.get(entry.rank, "")
                column = table.columns[place]
                cells.append(Text(wording.value(entry, column), style=style) + wording.mark(entry, column))
            grid.add_row(Text(line.label), *cells, end_section=line is lines[-1])
    for label, percents in table.improvements:
        grid.add_row(Text(label), *(Text(wording.improvement(percents[place])) for place in places))
    return grid
