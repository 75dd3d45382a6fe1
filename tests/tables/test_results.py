import numpy as np
import pandas as pd
from rich.console import Console

from urbankit.tables.results import ResultsTable
from urbankit.tables.table import Cell


def metrics(**values: dict) -> pd.DataFrame:
    """Records from {task: {(model, split, metric): values by seed}}."""
    rows = [
        {"task": task, "model": model, "split": split, "seed": seed, "metric": metric, "value": value}
        for task, columns in values.items()
        for (model, split, metric), by_seed in columns.items()
        for seed, value in enumerate(by_seed)
    ]
    return pd.DataFrame(rows)


EXAMPLE = metrics(
    co={
        ("floor:mean", "random", "r2"): [0.0, 0.1, 0.2],
        ("floor:raw-forest", "random", "r2"): [0.5, 0.6, 0.7],
        ("urbanmmcl", "random", "r2"): [0.7, 0.5, 0.9],
        ("floor:raw-forest", "random", "mae"): [1.0, 1.0, 1.0],
        ("urbanmmcl", "random", "mae"): [2.0, 2.0, 2.0],
        ("urbanmmcl", "spatial", "r2"): [0.3, 0.4, 0.5],
        ("floor:raw-forest", "spatial", "r2"): [0.2, 0.3, 0.4],
    },
    use={("urbanmmcl", "random", "macro_f1"): [0.5, 0.7, 0.6]},
)


def cells(table: ResultsTable, task: int, model: str) -> dict[tuple[str, str], Cell]:
    """The cells of a model in the table of a task, by split and metric."""
    one = table.tables[task]
    (row,) = [row for row in (*one.rows, *one.floors) if row.name == model]
    return {(column.split, column.metric): cell for column, cell in zip(one.columns, row.cells, strict=True)}


def test_cells_show_mean_and_sample_standard_deviation_over_seeds() -> None:
    cell = cells(ResultsTable(EXAMPLE), 0, "urbanmmcl")["random", "r2"]
    assert cell.mean == np.mean([0.7, 0.5, 0.9])
    assert cell.std == np.std([0.7, 0.5, 0.9], ddof=1)
    assert str(cell) == "0.700 ± 0.200"


def test_methods_come_before_floors_and_ranks_follow_the_direction_of_the_metric() -> None:
    table = ResultsTable(EXAMPLE)
    assert [row.name for row in table.tables[0].rows] == ["urbanmmcl"]
    assert [row.label for row in table.tables[0].floors] == ["floor: mean", "floor: raw-forest"]
    method, forest, mean = (cells(table, 0, name) for name in ("urbanmmcl", "floor:raw-forest", "floor:mean"))
    assert [one["random", "r2"].rank for one in (method, forest, mean)] == [1, 2, 0]
    assert [one["random", "mae"].rank for one in (method, forest)] == [2, 1]


def test_notes_compare_each_method_with_the_best_floor_of_each_split() -> None:
    std = np.std([0.2, -0.1, 0.2], ddof=1)
    assert ResultsTable(EXAMPLE).tables[0].notes == (
        f"random: urbanmmcl +0.100 ± {std:.3f} R² against the best floor, raw-forest; above it on 2 of 3 seeds",
        "spatial: urbanmmcl +0.100 ± 0.000 R² against the best floor, raw-forest; above it on 3 of 3 seeds",
    )


def test_a_metric_undefined_on_one_seed_has_no_mean_and_a_run_without_tasks_no_table() -> None:
    table = ResultsTable(metrics(co={("urbanmmcl", "random", "r2"): [0.5, np.nan]}))
    cell = cells(table, 0, "urbanmmcl")["random", "r2"]
    assert str(cell) == "n/a" and cell.rank == 0
    table = ResultsTable(pd.DataFrame(columns=["task", "model", "split", "seed", "metric", "value"]))
    assert table.tables == []
    assert table.markdown().strip() == ""


def test_large_numbers_are_shown_with_fewer_decimals() -> None:
    table = ResultsTable(metrics(d={("m", "random", "mae"): [12345.6, 12000.0], ("m", "random", "r2"): [0.5]}))
    assert str(cells(table, 0, "m")["random", "mae"]) == "12,173 ± 244"
    assert str(cells(table, 0, "m")["random", "r2"]) == "0.500"


def test_markdown_and_html_show_the_numbers_and_escape_names() -> None:
    odd = EXAMPLE.replace({"task": {"co": "<co>|x"}})
    table = ResultsTable(odd)
    assert "**0.700 ± 0.200**" in table.markdown() and r"\<co\>\|x" in table.markdown()
    assert "<td class=best>0.700 ± 0.200</td>" in table.html()
    assert "<co>" not in table.html() and "&lt;co&gt;|x" in table.html()


def test_narrow_terminal_gets_one_table_for_each_split() -> None:
    for width, grids in ((160, 1), (60, 2)):
        console = Console(width=width, record=True, file=open("/dev/null", "w"))  # noqa: SIM115, PTH123
        ResultsTable(EXAMPLE).print(console)
        assert console.export_text().count("floor: raw-forest") == grids
    assert "macro-F1" in str(ResultsTable(EXAMPLE))


def test_columns_follow_the_protocol_and_headings_name_the_kind_of_r2() -> None:
    table = ResultsTable(
        metrics(
            co={
                ("m", "random", "r2"): [0.5, 0.6],
                ("m", "folds", "r2"): [0.7],
                ("m", "folds", "r2_fold_mean"): [0.4],
                ("floor:mean", "folds", "r2"): [0.0],
            },
            use={("m", "folds", "nmi"): [0.2, 0.4], ("floor:location", "folds", "nmi"): [0.1, 0.1]},
        )
    )
    first, second = table.tables
    assert [(column.split, column.metric) for column in first.columns] == [
        ("random", "r2"),
        ("folds", "r2"),
        ("folds", "r2_fold_mean"),
    ]
    assert [(column.split, column.metric) for column in second.columns] == [("folds", "nmi")]
    assert "| co | random split R² ↑ | folds pooled R² ↑ | folds fold-mean R² ↑ |" in table.markdown()
    assert first.notes == ("folds: m +0.700 pooled R² against the best floor, mean",)
    assert second.notes[0] == "folds: m +0.200 NMI against the best floor, location"
    rows = [row for row in table.html().split("<tr") if row.count("<td")]
    assert [row.count("<td") for row in rows] == [3, 3, 1, 1]
    assert '<th colspan="2">folds</th>' in table.html() and '<th colspan="1">random split</th>' in table.html()
    assert "fold-mean R²" in str(table)
