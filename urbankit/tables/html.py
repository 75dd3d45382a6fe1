"""Tables as HTML fragments, with every text escaped."""

from __future__ import annotations

from urbankit.tables.table import Cell, Row, Table
from urbankit.utils.html import escape

WITHOUT = "without representation learning"
"""The heading of the floors."""


def html(table: Table, *, with_notes: bool = False) -> str:
    """The table, with `with_notes` also its notes as a list below it.

    The best of a column has the class `best`, the second best `second`. A row of the class `rule` heads the floors.
    """
    groups = "".join(
        f'<th colspan="{len(positions)}">{escape(group)}</th>' for group, positions in table.groups.items()
    )
    headings = "".join(f'<th scope="col">{escape(column.heading)}</th>' for column in table.columns)
    head = f"<tr><th></th>{groups}</tr><tr><th>{escape(table.corner)}</th>{headings}</tr>"
    rule = f'<tr class=rule><th scope="rowgroup" colspan="{1 + len(table.columns)}">{WITHOUT}</th></tr>'
    rows = [*map(_row, table.rows), *([rule] if table.floors else []), *map(_row, table.floors)]
    notes = "".join(f"<li>{escape(note)}</li>" for note in table.notes) if with_notes else ""
    return f'<table class="results"><thead>{head}</thead><tbody>{"".join(rows)}</tbody></table>' + (
        f"<ul>{notes}</ul>" if notes else ""
    )


def _row(row: Row) -> str:
    cells = "".join(_cell(cell) for cell in row.cells)
    return f'<tr><th scope="row">{escape(row.title)}</th>{cells}</tr>'


def _cell(cell: Cell) -> str:
    kind = {1: " class=best", 2: " class=second"}.get(cell.rank, "")
    return f"<td{kind}>{escape(f'{cell}{cell.mark}')}</td>"
