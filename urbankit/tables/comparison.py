"""Comparison tables, as papers show them: rows by tasks and metrics, ranks, improvements and significance tests."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pandas as pd

from urbankit.evaluation.metrics import suite_columns
from urbankit.evaluation.splits import protocol_label
from urbankit.tables.records import EvaluationSetup, is_floor
from urbankit.tables.significance import FEWEST, LEVEL, compare, holm
from urbankit.tables.spec import SuiteTable
from urbankit.tables.table import FLOOR, TRAINING, Cell, Column, Row, Table, rank_rows

EXPLANATION = "Mean ± sample standard deviation over pairs of seeds."


def build_tables(
    results: pd.DataFrame,
    grounds: Mapping[str, EvaluationSetup],
    table: SuiteTable,
    *,
    title: str = "",
    labels: Mapping[str, str] | None = None,
    missing: Mapping[tuple[str, str], int] | None = None,
) -> list[Table]:
    """Build the tables that `table` describes, one for every city and split protocol.

    Runs that were measured on different ground (other content of the city, other shares of the splits) come in
    separate tables.

    Args:
        results: Records as `records.results` makes them.
        grounds: What the results were measured on, by the key in the column `ground`.
        table: Which rows, columns, cities and splits to show.
        title: The start of the titles.
        labels: How rows, tasks and cities are shown, by their names.
        missing: The number of runs that are not finished, by row and city.
    """
    labels, missing = labels or {}, missing or {}
    rows = list(table.rows or dict.fromkeys(results.loc[~is_floor(results), "row"]))
    reference = table.reference or rows[-1]
    selected = results[(results["row"].isin(rows) & ~is_floor(results)) | (is_floor(results) & table.floors)]
    n_grounds = selected.groupby("city")["ground"].nunique()
    tables = []
    for city in table.cities or list(dict.fromkeys(selected["city"])):
        for ground in dict.fromkeys(selected.loc[selected["city"] == city, "ground"]):
            records = selected[(selected["city"] == city) & (selected["ground"] == ground)]
            protocols = [split for split in dict.fromkeys(records["split"]) if split]
            notes = list(_notes_on_runs(records, rows, city, missing, bool(n_grounds[city] > 1)))
            for split in table.splits or protocols:
                if split in protocols:
                    builder = _Builder(records, table, rows, reference, split, labels)
                    heading = ", ".join(part for part in (title, labels.get(city, city), protocol_label(split)) if part)
                    tables.append(builder.build(heading, grounds[ground].test_to_train(split), notes))
    return tables


def _notes_on_runs(
    records: pd.DataFrame, rows: Sequence[str], city: str, missing: Mapping[tuple[str, str], int], several: bool
) -> Iterator[str]:
    for row in rows:
        if number := missing.get((row, city)):
            yield f"{row}: {number} of its runs {'is' if number == 1 else 'are'} not finished or failed."
    if several:
        present = set(records.loc[~is_floor(records), "row"])
        yield (
            f"{', '.join(row for row in rows if row in present)}: other rows ran on other content of this city or on "
            "other splits; a separate table shows them."
        )


class _Builder:
    """Builds one table of the records of one city and split protocol."""

    def __init__(
        self,
        records: pd.DataFrame,
        spec: SuiteTable,
        rows: Sequence[str],
        reference: str,
        split: str,
        labels: Mapping[str, str],
    ) -> None:
        records = records[records["split"].isin((split, ""))]
        floors = is_floor(records)
        # The floors of the reference are shown, else those of the first row that has any.
        with_floors = list(dict.fromkeys(records.loc[floors, "row"]))
        self.floors_of = reference if reference in with_floors else next(iter(with_floors), None)
        records = records[~floors | (records["row"] == self.floors_of)]
        self.records = records.assign(line=records["row"].where(~is_floor(records), records["model"]))
        present: list[str] = list(dict.fromkeys(self.records["line"]))
        self.rows = [row for row in rows if row in present]
        self.floors = [name for name in present if name.startswith(FLOOR)]
        self.names = [*self.rows, *self.floors]
        self.reference = reference
        groups = self.records.groupby(["line", "task", "metric"], sort=False)
        self.values = {key: group[["run_seed", "seed", "value"]] for key, group in groups}
        self.columns = tuple(self._columns(spec, split, labels))

    def _columns(self, spec: SuiteTable, split: str, labels: Mapping[str, str]) -> Iterator[Column]:
        recorded = self.records.groupby("task", sort=False)["metric"].unique()
        for task in spec.tasks or [str(task) for task in recorded.index if task != TRAINING]:
            available = list(recorded.get(task, []))
            metrics = [metric for metric in spec.metrics or suite_columns() if metric in available]
            for metric in metrics or ([] if spec.metrics else available):
                yield Column(task, metric, split, labels.get(task, task))

    def build(self, title: str, test_to_train: float | None, notes: Sequence[str]) -> Table:
        by_column = [self._column(column, test_to_train) for column in self.columns]
        rows = {name: Row(name, tuple(cells[name] for cells in by_column)) for name in self.names}
        notes = [*notes, *self._notes_on_seeds()]
        if self.floors:
            notes.append(f"Floors learn no representation; they read the inputs of {self.floors_of}.")
        return Table(
            self.columns,
            tuple(rows[name] for name in self.rows),
            tuple(rows[name] for name in self.floors),
            title=title,
            notes=(*notes, *self._notes_on_tests(by_column)),
            reference=self.reference,
            improvements=tuple(self._improvements(rows)),
            explanation=EXPLANATION,
        )

    def _notes_on_seeds(self) -> Iterator[str]:
        """Which rows have fewer runs than others, so that only the tests compare the same runs."""
        methods = self.records[~is_floor(self.records)]
        seeds = {row: set(methods.loc[methods["row"] == row, "run_seed"].dropna()) for row in self.rows}
        every = set().union(*seeds.values())
        fewer = [f"{row} ({len(of_row)} of {len(every)})" for row, of_row in seeds.items() if of_row < every]
        if fewer:
            yield (
                f"Not on all seeds of pre-training: {', '.join(fewer)}. Means, ranks and improvements use all runs of "
                "a row, so that these rows were measured on other runs than the rest; tests use the seeds that both "
                "rows have."
            )

    def _column(self, column: Column, test_to_train: float | None) -> dict[str, Cell]:
        values = {name: self.values.get((name, column.task, column.metric)) for name in self.names}
        means = {name: _mean(of_row) for name, of_row in values.items()}
        ranks = rank_rows(means, column.higher)
        decimals = _decimals(list(means.values()))
        tests = {}
        reference = values.get(self.reference)
        if reference is not None and column.task != TRAINING:  # times on one machine are no sample of splits
            for name, of_row in values.items():
                if name != self.reference and of_row is not None:
                    tests[name] = compare(reference, of_row, test_to_train)
        adjusted = dict(zip(tests, holm(np.array([test.p for test in tests.values()])), strict=True))
        return {
            name: Cell(
                means[name],
                math.nan if of_row is None else float(of_row["value"].std(ddof=1)),
                0 if of_row is None else len(of_row),
                decimals,
                ranks.get(name, 0),
                tests.get(name),
                float(adjusted.get(name, math.nan)),
                column.higher,
            )
            for name, of_row in values.items()
        }

    def _improvements(self, rows: Mapping[str, Row]) -> Iterator[tuple[str, tuple[float, ...]]]:
        if self.reference not in rows:
            return
        others = [row for row in self.rows if row != self.reference]
        for text, names in (("other row", others), ("floor", self.floors)):
            if names:
                percents = (self._improvement(rows, names, position) for position in range(len(self.columns)))
                yield f"Improvement over the best {text} (%)", tuple(percents)

    def _improvement(self, rows: Mapping[str, Row], names: Sequence[str], position: int) -> float:
        """By how many percent the reference is better than the best of `names`; negative if it is worse."""
        higher = self.columns[position].higher
        means = np.array([rows[name].cells[position].mean for name in names])
        if np.isnan(means).all():
            return math.nan
        best = float(np.nanmax(means) if higher else np.nanmin(means))
        gain = rows[self.reference].cells[position].mean - best
        # A percentage of zero, or of a negative score, has no meaning.
        return 100 * (gain if higher else -gain) / best if best > 0 else math.nan

    def _notes_on_tests(self, by_column: Sequence[Mapping[str, Cell]]) -> Iterator[str]:
        tests = [cell.test for cells in by_column for cell in cells.values() if cell.test is not None]
        if not tests:
            return
        tested = [test for test in tests if not math.isnan(test.p)]
        if not tested:
            most = max(test.n for test in tests)
            reason = f"{most} paired values are too few" if most < FEWEST else "differences do not vary"
            yield f"Significance was not tested: {reason}."
            return
        names = sorted({test.name for test in tested})
        counts = sorted({test.n for test in tested})
        yield (
            f"† {self.reference} is better, ‡ worse: p < {LEVEL}, {' and '.join(_TESTS[name] for name in names)}, "
            f"n = {', '.join(map(str, counts))}, Holm's adjustment over the rows and floors of a column."
        )


_TESTS = {
    "corrected t": "corrected resampled t-test over splits (Nadeau & Bengio 2003)",
    "t": "paired t-test over seeds of pre-training on the same regions",
}


def _mean(records: pd.DataFrame | None) -> float:
    """NaN if any value is: a mean over only the seeds where R² is defined would compare different test regions."""
    return math.nan if records is None else float(records["value"].mean(skipna=False))


def _decimals(means: Sequence[float]) -> int:
    """The decimals that leave three significant digits of the median of a column."""
    size = 1.0 if np.isnan(means).all() else float(np.nanmedian(np.abs(means)))
    limits = ((0.01, 5), (0.1, 4), (10, 3), (100, 2), (1000, 1), (math.inf, 0))
    return next(decimals for limit, decimals in limits if size < limit)
