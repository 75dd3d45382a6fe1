from pathlib import Path

import numpy as np

from urbankit.bench.figures import draw_tables
from urbankit.tables.table import TRAINING, Cell, Column, Row, Table


def table(split: str, columns: list[Column], rows: int = 2, title: str = "Of rows") -> Table:
    def row(name: str, first: float) -> Row:
        return Row(name, tuple(Cell(first + 0.1 * position, 0.05, 3) for position in range(len(columns))))

    methods = tuple(row(f"row {i} $x$", 0.2 * i - 0.1) for i in range(rows))
    return Table(tuple(columns), methods, (row("floor:mean", 0.1),), title=f"{title}, the city, {split} split")


def scores(split: str) -> list[Column]:
    return [Column("co", "mae", split, "CO"), Column("co", "r2", split, "CO"), Column("use", "macro_f1", split, "Use")]


def test_tables_of_scores_become_bars_and_tables_of_costs_become_paradigm_figures(tmp_path: Path) -> None:
    cost_metrics = ("finetune_epochs_to_best", "finetune_seconds_per_epoch")
    with_costs = {
        split: [*scores(split), *(Column(TRAINING, name, split, "training") for name in cost_metrics)] for split in "ab"
    }
    tables = {
        "bars": [table("random", scores("random")), table("spatial", scores("spatial"))],
        "paradigms": [table(split, with_costs[split]) for split in "ab"],
        "one-row": [table("random", scores("random"), rows=1)],
    }
    drawn = draw_tables(tables, tmp_path)
    assert [drawing.png.name for drawing in drawn] == ["bars.png", "paradigms.png"]
    assert drawn[0].caption.startswith("Of rows, the city. Bars: mean") and "each task" in drawn[1].caption
    assert all(drawing.png.with_suffix(".pdf").is_file() for drawing in drawn)


def test_undefined_values_are_left_out(tmp_path: Path) -> None:
    columns = scores("random")
    undefined = Row("undefined", tuple(Cell(np.nan, np.nan, 3) for _ in columns))
    full = table("random", columns)
    with_undefined = Table(columns=full.columns, rows=(undefined, *full.rows), floors=(), title=full.title)
    assert len(draw_tables({"x": [with_undefined]}, tmp_path)) == 1
