"""Tables in the shape of the papers: rows against tasks and metrics, what is best, by how much, and how surely."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from urbankit.evaluation.metrics import HIGHER_IS_BETTER, LABELS
from urbankit.evaluation.splits import protocol_label
from urbankit.tables.records import TRAINING, TRAINING_LABELS, Ground, is_floor
from urbankit.tables.results import FLOOR, label
from urbankit.tables.significance import FEWEST, LEVEL, Test, compare, holm
from urbankit.tables.spec import SuiteTable

SHOWN = ("mae", "mse", "r2", "macro_f1", "macro_recall")
"""The paper's metrics; what is shown of a task where the table names none."""


@dataclass(frozen=True)
class Column:
    """One metric of one task under a split protocol; its numbers are shown with so many decimals."""

    task: str
    metric: str
    label: str
    split: str
    decimals: int = 3

    @property
    def heading(self) -> str:
        if self.metric in LABELS:
            name = label(self.split, self.metric)
        else:
            name = TRAINING_LABELS.get(self.metric, self.metric.replace("_", " "))
        return f"{name} {'↑' if self.higher else '↓'}"

    @property
    def higher(self) -> bool:
        return self.metric in HIGHER_IS_BETTER


@dataclass(frozen=True)
class Entry:
    """Mean and sample standard deviation over `n` pairs of seeds; `rank` 1 or 2 of its column, else 0.

    `test` compares the reference with this row, `p` is its p-value after Holm's adjustment over the column.
    """

    mean: float
    std: float
    n: int
    rank: int = 0
    test: Test | None = None
    p: float = math.nan

    @property
    def significant(self) -> bool:
        return self.p < LEVEL


@dataclass(frozen=True)
class Line:
    """A row of the table: a method's, or a floor's."""

    label: str
    entries: tuple[Entry, ...]


@dataclass(frozen=True)
class Table:
    """One table, of one city and split protocol.

    `improvements` are percentages by which the reference is better than the best other row, and than the best floor;
    NaN where a percentage means nothing.
    """

    title: str
    reference: str
    columns: tuple[Column, ...]
    rows: tuple[Line, ...]
    floors: tuple[Line, ...]
    improvements: tuple[tuple[str, tuple[float, ...]], ...]
    notes: tuple[str, ...]

    @property
    def tested(self) -> list[Line]:
        """The rows and floors that the reference was compared with."""
        return [line for line in (*self.rows, *self.floors) if any(entry.test for entry in line.entries)]


def build_tables(
    results: pd.DataFrame,
    grounds: Mapping[str, Ground],
    table: SuiteTable,
    *,
    title: str = "",
    labels: Mapping[str, str] | None = None,
    missing: Mapping[tuple[str, str], int] | None = None,
) -> list[Table]:
    """The tables that `table` asks for, one for every city and split protocol.

    `results` is as `results.results` makes it. Runs that were measured on different ground (another content of the
    city, other shares of the parts) come in tables of their own. `missing` counts runs that should be there and are
    not, by row and city.
    """
    rows = list(table.rows or dict.fromkeys(results.loc[~is_floor(results), "row"]))
    reference = table.reference or rows[-1]
    wanted = results[(results["row"].isin(rows) & ~is_floor(results)) | (is_floor(results) & table.floors)]
    cities = table.cities or list(dict.fromkeys(wanted["city"]))
    apart = wanted.groupby("city")["ground"].nunique()
    tables = []
    for city in cities:
        for ground in dict.fromkeys(wanted.loc[wanted["city"] == city, "ground"]):
            here = wanted[(wanted["city"] == city) & (wanted["ground"] == ground)]
            protocols = [split for split in dict.fromkeys(here["split"]) if split]
            for split in table.splits or protocols:
                if split in protocols:
                    block = _Block(here, table, rows, reference, split, labels or {})
                    heading = [title, (labels or {}).get(city, city), protocol_label(split)]
                    tables.append(
                        block.table(
                            ", ".join(part for part in heading if part),
                            grounds[ground].test_to_train(split),
                            _notes_of(here, rows, city, missing or {}, bool(apart[city] > 1)),
                        )
                    )
    return tables


def _notes_of(
    here: pd.DataFrame, rows: Sequence[str], city: str, missing: Mapping[tuple[str, str], int], apart: bool
) -> list[str]:
    notes = [
        f"{row}: {missing[row, city]} of its runs {'is' if missing[row, city] == 1 else 'are'} not finished or failed."
        for row in rows
        if missing.get((row, city))
    ]
    if apart:
        there = [row for row in rows if row in set(here.loc[~is_floor(here), "row"])]
        notes.append(
            f"{', '.join(there)}: other rows ran on another content of this city or on other splits, and are shown"
            " in a table of their own."
        )
    return notes


class _Block:
    """The records of one table."""

    def __init__(
        self,
        records: pd.DataFrame,
        spec: SuiteTable,
        rows: Sequence[str],
        reference: str,
        split: str,
        labels: Mapping[str, str],
    ) -> None:
        self.split = split
        records = records[records["split"].isin((split, ""))]
        floors = is_floor(records)
        # Floors read the inputs of a row's recipe: those of the reference are shown, else of the first that has any.
        with_floors = list(dict.fromkeys(records.loc[floors, "row"]))
        self.floors_of = reference if reference in with_floors else next(iter(with_floors), None)
        records = records[~floors | (records["row"] == self.floors_of)]
        self.records = records.assign(line=records["row"].where(~is_floor(records), records["model"]))
        present = set(self.records["line"])
        self.rows = [row for row in rows if row in present]
        self.floors = [line for line in dict.fromkeys(self.records["line"]) if str(line).startswith(FLOOR)]
        self.reference = reference
        groups = self.records.groupby(["line", "task", "metric"], sort=False)
        self.values = {key: group[["run_seed", "seed", "value"]] for key, group in groups}
        self.columns = tuple(self._columns(spec, labels))

    def _columns(self, spec: SuiteTable, labels: Mapping[str, str]) -> Iterator[Column]:
        of_task = self.records.groupby("task", sort=False)["metric"].unique()
        for task in spec.tasks or [task for task in of_task.index if task != TRAINING]:
            there = list(of_task.get(task, []))
            asked = spec.metrics or SHOWN
            chosen = [metric for metric in asked if metric in there]
            for metric in chosen or ([] if spec.metrics else there):
                yield Column(task, metric, labels.get(task, task), self.split, self._decimals(task, metric))

    def _decimals(self, task: str, metric: str) -> int:
        """As many decimals as leave the column's numbers three digits that count."""
        means = [abs(_mean(self.values.get((line, task, metric)))) for line in (*self.rows, *self.floors)]
        size = float(np.nanmedian(means)) if not np.isnan(means).all() else 1.0
        return next(decimals for limit, decimals in _DECIMALS if size < limit)

    def table(self, title: str, test_to_train: float | None, notes: list[str]) -> Table:
        lines = [*self.rows, *self.floors]
        by_column = [self._column(column, lines, test_to_train) for column in self.columns]
        finished = {line: Line(_label(line), tuple(column[line] for column in by_column)) for line in lines}
        notes = [*notes, *self._notes_on_seeds()]
        if self.floors:
            notes.append(f"Floors learn no representation; they read the inputs of {self.floors_of}.")
        return Table(
            title,
            self.reference,
            self.columns,
            tuple(finished[row] for row in self.rows),
            tuple(finished[floor] for floor in self.floors),
            tuple(self._improvements(finished)),
            (*notes, *self._notes_on_tests(by_column)),
        )

    def _notes_on_seeds(self) -> Iterator[str]:
        """Which rows were measured on fewer runs than the others, so that only the tests compare like with like."""
        methods = self.records[~is_floor(self.records)]
        seeds = {row: set(methods.loc[methods["row"] == row, "run_seed"].dropna()) for row in self.rows}
        every = set().union(*seeds.values())
        fewer = [f"{row} ({len(own)} of {len(every)})" for row, own in seeds.items() if own < every]
        if fewer:
            yield (
                f"Not on all seeds of pre-training: {', '.join(fewer)}. Means, ranks and improvements take all that a"
                " row has, so that these rows were measured on other runs than the rest; tests take the seeds that"
                " both rows have."
            )

    def _column(self, column: Column, lines: Sequence[str], test_to_train: float | None) -> dict[str, Entry]:
        values = {line: self.values.get((line, column.task, column.metric)) for line in lines}
        ranks = _ranks({line: _mean(found) for line, found in values.items()}, column.higher)
        tests = {}
        reference = values.get(self.reference)
        if reference is not None and column.task != TRAINING:  # times of one machine are no sample of splits
            for line, found in values.items():
                if line != self.reference and found is not None:
                    tests[line] = compare(reference, found, test_to_train)
        adjusted = dict(zip(tests, holm(np.array([test.p for test in tests.values()])), strict=True))
        return {
            line: Entry(
                _mean(found),
                math.nan if found is None else float(found["value"].std(ddof=1)),
                0 if found is None else len(found),
                ranks.get(line, 0),
                tests.get(line),
                float(adjusted.get(line, math.nan)),
            )
            for line, found in values.items()
        }

    def _improvements(self, lines: Mapping[str, Line]) -> Iterator[tuple[str, tuple[float, ...]]]:
        if self.reference not in lines:
            return
        others = [row for row in self.rows if row != self.reference]
        for what, names in (("row", others), ("floor", self.floors)):
            if names:
                heading = f"Improvement over the best {'other row' if what == 'row' else what} (%)"
                yield heading, tuple(self._improvement(lines, names, place) for place in range(len(self.columns)))

    def _improvement(self, lines: Mapping[str, Line], names: Sequence[str], place: int) -> float:
        """By how many percent the reference is better than the best of `names`; negative where it is worse."""
        higher = self.columns[place].higher
        means = np.array([lines[name].entries[place].mean for name in names])
        if np.isnan(means).all():
            return math.nan
        best = float(np.nanmax(means) if higher else np.nanmin(means))
        gain = lines[self.reference].entries[place].mean - best
        # A share of a number that is zero or, of a score, negative says nothing.
        return 100 * (gain if higher else -gain) / best if best > 0 else math.nan

    def _notes_on_tests(self, by_column: Sequence[Mapping[str, Entry]]) -> Iterator[str]:
        tests = [entry.test for column in by_column for entry in column.values() if entry.test is not None]
        if not tests:
            return
        tested = [test for test in tests if not math.isnan(test.p)]
        if not tested:
            most = max(test.n for test in tests)
            why = f"{most} paired values are too few" if most < FEWEST else "differences do not vary"
            yield f"Significance was not tested: {why}."
            return
        names = sorted({test.name for test in tested})
        counts = sorted({test.n for test in tested})
        yield (
            f"† {self.reference} is better, ‡ worse: p < {LEVEL}, {' and '.join(_TESTS[name] for name in names)}, "
            f"n = {', '.join(map(str, counts))}, Holm's adjustment over the rows and floors of a column."
        )


_DECIMALS = ((0.01, 5), (0.1, 4), (10, 3), (100, 2), (1000, 1), (math.inf, 0))

_TESTS = {
    "corrected t": "corrected resampled t-test over splits (Nadeau & Bengio 2003)",
    "t": "paired t-test over seeds of pre-training on the same regions",
}


def _mean(found: pd.DataFrame | None) -> float:
    """NaN where any value is: a mean over only the seeds where R² is defined would compare different test parts."""
    return math.nan if found is None else float(found["value"].mean(skipna=False))


def _ranks(means: Mapping[str, float], higher: bool) -> dict[str, int]:
    """1 for the best lines, 2 for the second best; equals share a rank."""
    distinct = sorted({mean for mean in means.values() if not math.isnan(mean)}, reverse=higher)[:2]
    return {line: distinct.index(mean) + 1 for line, mean in means.items() if mean in distinct}


def _label(line: str) -> str:
    return line.replace(FLOOR, "floor: ", 1)
