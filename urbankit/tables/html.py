"""Tables as HTML fragments, with every text escaped."""

from __future__ import annotations

from urbankit.tables.table import Cell, Row, Table
from urbankit.utils.html import escape


def html(table: Table, *, with_notes: bool = False) -> str:
    """The table, with `with_notes` also its notes as a list below it.

    The best of a column has the class `best`, the second best `second`, and the first floor `rule`.
    """
    groups = "".join(
        f'<th colspan="{len(positions)}">{escape(group)}</th>' for group, positions in table.groups.items()
    )
    headings = "".join(f'<th scope="col">{escape(column.heading)}</th>' for column in table.columns)
    head = f"<tr><th></th>{groups}</tr><tr><th>{escape(table.corner)}</th>{headings}</tr>"
    body = "".join([*(_row(row) for row in table.rows), *(_row(row, i == 0) for i, row in enumerate(table.floors))])
    notes = "".join(f"<li>{escape(note)}</li>" for note in table.notes) if with_notes else ""
    return f'<table class="results"><thead>{head}</thead><tbody>{body}</tbody></table>' + (
        f"<ul>{notes}</ul>" if notes else ""
    )


def _row(row: Row, rule: bool = False) -> str:
    cells = "".join(_cell(cell) for cell in row.cells)
    return f'<tr{" class=rule" if rule else ""}><th scope="row">{escape(row.label)}</th>{cells}</tr>'


def _cell(cell: Cell) -> str:
    kind = {1: " class=best", 2: " class=second"}.get(cell.rank, "")
    return f"<td{kind}>{escape(f'{cell}{cell.mark}')}</td>"
