"""The tables against numbers worked out by hand, and their Markdown and LaTeX."""

import math
import re

import numpy as np
import pandas as pd
import pytest

from urbankit.recipe.recipe import Recipe
from urbankit.tables.comparison import build_tables
from urbankit.tables.latex import escape_latex, latex
from urbankit.tables.markdown import markdown
from urbankit.tables.records import EvaluationSetup, results
from urbankit.tables.significance import corrected_t, holm
from urbankit.tables.spec import SuiteTable
from urbankit.tables.table import Table

GROUND = EvaluationSetup("city", (0.6, 0.2, 0.2), 10, 10, (), ())
OTHER = EvaluationSetup("city changed", (0.6, 0.2, 0.2), 10, 10, (), ())

# R² and MAE of each row by (seed of pre-training, seed of the split).
SPLITS = range(5)
R2 = {
    "w/o text": {(run, split): 0.5 + 0.01 * split for run in (0, 1) for split in SPLITS},
    "α = 0.2": {(run, split): 0.6 + 0.01 * split + 0.02 * run for run in (0, 1) for split in SPLITS},
    "Ours": {(run, split): 0.8 + 0.01 * split + 0.001 * split**2 for run in (0, 1) for split in SPLITS},
}
FLOORS = {"floor:mean": 0.0, "floor:raw-forest": 0.7}


def row_results(
    row: str, values: dict[tuple[int, int], float], ground: EvaluationSetup = GROUND, split: str = "random"
):
    tables = []
    for run in sorted({run for run, _ in values}):
        records = [
            {"task": "co", "model": "m", "split": split, "seed": seed, "metric": metric, "value": of(value)}
            for (at, seed), value in values.items()
            if at == run
            for metric, of in (("r2", lambda v: v), ("mae", lambda v: 10 * (1 - v)), ("accuracy", lambda v: v))
        ]
        tables.append(results(records, run_seed=run, suite="s", row=row, recipe=row, city="town", ground=ground.key))
    return pd.concat(tables)


def floor_results(row: str, ground: EvaluationSetup = GROUND):
    records = [
        {"task": "co", "model": floor, "split": "random", "seed": seed, "metric": metric, "value": of(value)}
        for floor, value in FLOORS.items()
        for seed in SPLITS
        for metric, of in (("r2", lambda v: v), ("mae", lambda v: 10 * (1 - v)))
    ]
    return results(records, run_seed=None, suite="s", row=row, recipe=row, city="town", ground=ground.key)


def built(*tables: pd.DataFrame, **keys) -> list[Table]:
    grounds = {ground.key: ground for ground in (GROUND, OTHER)}
    labels = {"co": "CO_2 & more"}
    return build_tables(pd.concat(tables), grounds, SuiteTable(**keys), title="Table 2", labels=labels)


@pytest.fixture
def table() -> Table:
    (comparison,) = built(*(row_results(row, values) for row, values in R2.items()), floor_results("Ours"))
    return comparison


def test_columns_are_the_papers_metrics_and_floors_are_separate(table):
    assert table.title == "Table 2, town, random split"
    assert [(column.task, column.metric) for column in table.columns] == [("co", "mae"), ("co", "r2")]
    assert [line.label for line in table.rows] == ["w/o text", "α = 0.2", "Ours"]
    assert [line.label for line in table.floors] == ["floor: mean", "floor: raw-forest"]
    assert any("the inputs of Ours" in note for note in table.notes)


def test_values_are_means_deviations_and_ranks(table):
    alpha = table.rows[1].cells[1]
    values = list(R2["α = 0.2"].values())
    assert (alpha.mean, alpha.std, alpha.n) == (
        pytest.approx(np.mean(values)),
        pytest.approx(np.std(values, ddof=1)),
        10,
    )
    # Floors are ranked with the rows: the forest's 0.7 comes second.
    assert [line.cells[1].rank for line in (*table.rows, *table.floors)] == [0, 0, 1, 0, 2]
    assert [line.cells[0].rank for line in (*table.rows, *table.floors)] == [0, 0, 1, 0, 2]


def test_improvements_equal_direct_computations(table):
    """R²: ours 0.826; the best other row 0.63, the best floor 0.7. MAE: 1.74 against 3.7 and 3.0."""
    (_, over_rows), (_, over_floors) = table.improvements
    assert over_rows == (pytest.approx(100 * (3.7 - 1.74) / 3.7), pytest.approx(100 * (0.826 - 0.63) / 0.63))
    assert over_floors == (pytest.approx(100 * (3.0 - 1.74) / 3.0), pytest.approx(100 * (0.826 - 0.7) / 0.7))


def test_a_reference_that_loses_has_a_negative_improvement():
    (table,) = built(row_results("good", R2["Ours"]), row_results("bad", R2["w/o text"]), reference="bad", floors=False)
    ((_, percents),) = table.improvements
    assert percents[1] == pytest.approx(100 * (0.52 - 0.826) / 0.826) and percents[0] < 0
    assert table.rows[0].cells[1].mark == "‡"


def test_no_improvement_is_given_over_a_negative_score():
    negative = {key: -0.1 for key in R2["Ours"]}
    (table,) = built(row_results("poor", negative), row_results("Ours", R2["Ours"]), metrics=["r2"])
    assert math.isnan(table.improvements[0][1][0])


def test_significance_is_paired_corrected_and_adjusted(table):
    """Against each of four others, of which Holm's adjustment is over all; α's two seeds are averaged first."""
    ours = np.array([0.8 + 0.01 * split + 0.001 * split**2 for split in SPLITS])
    others = [
        0.5 + 0.01 * np.arange(5), 0.61 + 0.01 * np.arange(5), np.zeros(5), np.full(5, 0.7),
    ]  # fmt: skip
    p = holm(np.array([corrected_t(ours - other, 1 / 3).p for other in others]))
    entries = [line.cells[1] for line in (*table.rows[:2], *table.floors)]
    np.testing.assert_allclose([entry.p for entry in entries], p, rtol=1e-6)
    assert {entry.mark for entry in entries} == {"†"}
    assert "n = 5" in table.notes[-1] and "Nadeau & Bengio 2003" in table.notes[-1]


def test_too_few_paired_values_are_not_tested():
    two = {key: value for key, value in R2["Ours"].items() if key[1] < 2}
    worse = {key: value - 0.1 for key, value in two.items()}
    (table,) = built(row_results("a", worse), row_results("b", two))
    assert table.notes[-1] == "Significance was not tested: 2 paired values are too few."
    assert "†" not in markdown([table])
    (table,) = built(*(row_results(row, R2[row], split="folds") for row in ("w/o text", "Ours")))
    assert table.notes[-1] == "Significance was not tested: 2 paired values are too few."


def test_metric_undefined_on_a_split_has_no_mean():
    undefined = R2["w/o text"] | {(0, 0): math.nan}
    (table,) = built(row_results("a", undefined), row_results("b", R2["Ours"]))
    assert str(table.rows[0].cells[1]) == "n/a"
    assert table.rows[1].cells[1].rank == 1


def test_results_of_another_evaluation_setup_are_in_a_separate_table():
    tables = built(row_results("a", R2["w/o text"]), row_results("b", R2["Ours"], OTHER))
    assert [[line.label for line in one.rows] for one in tables] == [["a"], ["b"]]
    assert all(any("a separate table" in note for note in one.notes) for one in tables)


def test_rows_with_fewer_runs_are_named():
    """Means take both runs of one row and the only one of the other, which the note says; the test takes seed 0."""
    one = {key: value for key, value in R2["w/o text"].items() if key[0] == 0}
    (table,) = built(row_results("w/o text", one), row_results("Ours", R2["Ours"]))
    (note,) = [note for note in table.notes if "seeds of pre-training: w/o text (1 of 2)" in note]
    assert "improvements" in note and table.rows[0].cells[0].n == 5 and table.rows[1].cells[0].n == 10
    (complete,) = built(row_results("w/o text", R2["w/o text"]), row_results("Ours", R2["Ours"]))
    assert not any("seeds of pre-training:" in note for note in complete.notes)


def test_headings_name_the_kind_of_r2_and_the_protocol():
    titles = {"folds": "Table 2, town, folds", "all": "Table 2, town, all regions"}
    headings = {"folds": "pooled R² ↑", "all": "R² ↑"}
    for split in ("folds", "all"):
        (table,) = built(row_results("a", R2["Ours"], split=split), metrics=["r2"])
        assert table.title == titles[split] and table.columns[0].heading == headings[split]


def test_results_of_different_fold_numbers_are_not_compared(cheap_recipe):
    """5 folds and 10 are not compared."""
    grounds = [
        EvaluationSetup.of(
            Recipe.load({"name": "r", **cheap_recipe}, [f"evaluation.folds.number={number}"]), "city"
        ).key
        for number in (5, 5, 10)
    ]
    assert grounds[0] == grounds[1] != grounds[2]


def test_tables_show_the_requested_columns_rows_and_splits():
    tables = built(
        *(row_results(row, R2[row], split=split) for row in R2 for split in ("random", "spatial")),
        rows=["Ours", "w/o text"], splits=["spatial"], metrics=["r2", "mae"], reference="Ours",
    )  # fmt: skip
    (table,) = tables
    assert "spatial" in table.title and [column.metric for column in table.columns] == ["r2", "mae"]
    assert [line.label for line in table.rows] == ["Ours", "w/o text"]


def test_other_metrics_are_shown_if_the_papers_are_missing():
    results = row_results("a", R2["Ours"])
    (table,) = built(results[results["metric"] == "accuracy"])
    assert [column.metric for column in table.columns] == ["accuracy"]


def test_means_have_three_significant_digits():
    (table,) = built(row_results("a", {key: 1 - value / 1000 for key, value in R2["Ours"].items()}), metrics=["mae"])
    assert str(table.rows[0].cells[0]) == "0.00826 ± 0.00021"


def test_markdown_tables_have_equal_columns_and_marks(table):
    text = markdown([table])
    assert text.startswith("## Table 2, town, random split\n")
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert len({line.replace("\\|", "").count("|") for line in rows}) == 1
    assert "**0.826 ± 0.021**" in text and "<u>0.700 ± 0.000</u>" in text
    assert "| w/o text | 4.800 ± 0.149† | 0.520 ± 0.015† |" in text
    assert re.search(r"\| α = 0\.2 \| -1\.960, p (=|<) 0\.\d+ \| \+0\.196, p (=|<) 0\.\d+ \|", text)


def test_names_are_escaped_in_markdown_and_latex():
    name = r"a|b_*<i> 50% $x$ {y} \z #1 ~^ & α²"
    tables = built(row_results(name, R2["w/o text"]), row_results("b", R2["Ours"]))
    (row, *_) = [line for line in markdown(tables).splitlines() if line.startswith(r"| a\|b\_\*\<i\> 50%")]
    assert row.replace("\\|", "").count("|") == 4
    assert escape_latex(name) == (
        r"a\textbar{}b\_*\textless{}i\textgreater{} 50\% \$x\$ \{y\} \textbackslash{}z \#1 "
        r"\textasciitilde{}\textasciicircum{} \& $\alpha$$^2$"
    )


def test_latex_tables_are_balanced_and_escaped(table):
    text = latex([table])
    for environment in ("table*", "tabular"):
        assert text.count(rf"\begin{{{environment}}}") == text.count(rf"\end{{{environment}}}") == 2
    assert text.count(r"\toprule") == text.count(r"\bottomrule") == 2
    bodies = re.findall(r"\\midrule\n(.*?)\\bottomrule", text, re.DOTALL)
    rows = [line for body in bodies for line in body.splitlines() if line.endswith(r"\\")]
    assert {len(re.findall(r"(?<!\\)&", line)) for line in rows} == {2}
    assert r"\multicolumn{2}{c}{CO\_2 \& more}" in text and r"\cmidrule(lr){2-3}" in text
    assert r"\textbf{0.826 $\pm$ 0.021}" in text and r"0.520 $\pm$ 0.015$^\dagger$" in text
    assert r"& $-$1.960, p " in text
    assert r"$\alpha$ = 0.2" in text and r"R$^2$ $\uparrow$" in text
    depth = 0
    for brace in re.findall(r"(?<!\\)[{}]", text):
        depth += 1 if brace == "{" else -1
        assert depth >= 0
    assert depth == 0 and text.isascii()
