from __future__ import annotations

from pathlib import Path

import numpy as np

from urbankit.bench.figures import draw_tables
from urbankit.tables.comparison import Column, Entry, Line, Table
from urbankit.tables.records import TRAINING


def table(split: str, columns: list[Column], rows: int = 2, title: str = "Of rows") -> Table:
    def line(name: str, first: float) -> Line:
        return Line(name, tuple(Entry(first + 0.1 * place, 0.05, 3) for place in range(len(columns))))

    lines = tuple(line(f"row {i} $x$", 0.2 * i - 0.1) for i in range(rows))
    return Table(
        f"{title}, the city, {split} split", "row 0", tuple(columns), lines, (line("floor: mean", 0.1),), (), ()
    )


def scores(split: str) -> list[Column]:
    return [Column("co", "mae", "CO", split), Column("co", "r2", "CO", split), Column("use", "macro_f1", "Use", split)]


def test_a_table_becomes_bars_of_both_protocols_and_one_of_costs_paradigms(tmp_path: Path) -> None:
    costs = ("finetune_epochs_to_best", "finetune_seconds_per_epoch")
    dear = {split: [*scores(split), *(Column(TRAINING, name, "training", split) for name in costs)] for split in "ab"}
    tables = {
        "bars": [table("random", scores("random")), table("spatial", scores("spatial"))],
        "paradigms": [table(split, dear[split]) for split in "ab"],
        "one-row": [table("random", scores("random"), rows=1)],
    }
    drawn = draw_tables(tables, tmp_path)
    assert [drawing.png.name for drawing in drawn] == ["bars.png", "paradigms.png"]
    assert drawn[0].caption.startswith("Of rows, the city. Bars: mean") and "each task" in drawn[1].caption
    assert all(drawing.png.with_suffix(".pdf").is_file() for drawing in drawn)


def test_values_that_are_not_defined_are_left_out(tmp_path: Path) -> None:
    columns = scores("random")
    hole = Line("hole", tuple(Entry(np.nan, np.nan, 3) for _ in columns))
    whole = table("random", columns)
    drawn = draw_tables({"x": [Table(whole.title, "hole", whole.columns, (hole, *whole.rows), (), (), ())]}, tmp_path)
    assert len(drawn) == 1
