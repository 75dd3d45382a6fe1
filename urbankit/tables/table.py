"""The model of a table of results: what every renderer (terminal, Markdown, LaTeX, HTML) shows."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import pandas as pd

from urbankit.evaluation.floors import CARRIED, FLOORS
from urbankit.evaluation.metrics import has_direction, has_fold_mean, higher_is_better, metric_label
from urbankit.evaluation.splits import is_probe
from urbankit.tables.significance import LEVEL, Test

FLOOR = "floor:"
"""What the name of a floor starts with in a column `model`."""

UNTRAINED = f"{FLOOR}untrained"
"""The method with its initial weights, which tables show among the floors (`evaluation.controls`)."""

TRAINING = "training"
"""The task under which tables show the times and epochs of a run."""

TRAINING_LABELS = {
    "seconds": "seconds",
    **{
        f"{stage}_{name}": f"{label} {text}"
        for stage, label in (("pretrain", "pre-training"), ("finetune", "fine-tuning"))
        for name, text in (
            ("seconds", "seconds"),
            ("epochs", "epochs"),
            ("epochs_to_best", "epochs to best"),
            ("seconds_per_epoch", "s / epoch"),
        )
    },
}
"""The metrics of the task `training`."""


@dataclass(frozen=True)
class Column:
    """One metric of one task under one split protocol. Columns of one `group` have a common heading."""

    task: str
    metric: str
    split: str
    group: str

    @property
    def higher(self) -> bool:
        """Whether higher values are better."""
        return higher_is_better(self.metric)

    @property
    def heading(self) -> str:
        """The name of the metric, with an arrow to the better side."""
        name = TRAINING_LABELS.get(self.metric) or label(self.split, self.metric)
        return f"{name} {'↑' if self.higher else '↓'}" if has_direction(self.metric) else name


@dataclass(frozen=True)
class Cell:
    """Mean and sample standard deviation of one metric in one row.

    Attributes:
        mean: NaN if the metric is not defined for every seed.
        std: NaN for a single value.
        n: The number of values (seeds, or pairs of seeds); 0 if there is none.
        decimals: With how many decimals the numbers are shown.
        rank: 1 for the best of the column, 2 for the second best, else 0.
        test: The comparison of the reference row with this row.
        p: The p-value of `test` after Holm's adjustment; NaN if not tested.
        higher: Whether higher values are better.
    """

    mean: float
    std: float
    n: int
    decimals: int = 3
    rank: int = 0
    test: Test | None = None
    p: float = math.nan
    higher: bool = True

    def __str__(self) -> str:
        """`0.653 ± 0.040`, a dash without values, `n/a` without a mean."""
        if not self.n:
            return "–"
        if math.isnan(self.mean):
            return "n/a"
        return self._number(self.mean) + (f" ± {self._number(self.std)}" if self.n > 1 else "")

    @property
    def mark(self) -> str:
        """† if the reference is significantly better than this row, ‡ if it is significantly worse."""
        if self.test is None or not self.p < LEVEL:
            return ""
        return "†" if (self.test.difference > 0) == self.higher else "‡"

    @property
    def comparison(self) -> str:
        """Difference of the reference and this row with its p-value: `+0.042, p = 0.003`."""
        if self.test is None or math.isnan(self.test.difference):
            return "–"
        difference = self._number(self.test.difference, "+")
        if math.isnan(self.p):
            return difference
        return f"{difference}, p {'< 0.001' if self.p < 0.001 else f'= {self.p:.3f}'}"

    def _number(self, number: float, sign: str = "-") -> str:
        return f"{number:{sign},.{self.decimals}f}"


@dataclass(frozen=True)
class Row:
    """A row of a table, one cell for each column; `name` is a method or `floor:NAME`."""

    name: str
    cells: tuple[Cell, ...]

    @property
    def is_floor(self) -> bool:
        """Whether the row is a floor."""
        return self.name.startswith(FLOOR)

    @property
    def label(self) -> str:
        """The name as tables show it."""
        return self.name.replace(FLOOR, "floor: ", 1)

    @property
    def title(self) -> str:
        """The name as reports show it: what a floor is, without the word."""
        return floor_title(self.name) if self.is_floor else self.name


@dataclass(frozen=True)
class Table:
    """One table.

    Attributes:
        columns: The columns, group by group.
        rows: The rows of methods.
        floors: The rows of floors, below a rule.
        title: The heading above the table; empty for none.
        corner: The text above the names of the rows.
        notes: Sentences below the table.
        reference: The row that others are compared with; empty for none.
        improvements: A label, and for each column by how many percent the reference is better; NaN where a percentage
            means nothing.
        explanation: How to read the numbers.
    """

    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    floors: tuple[Row, ...]
    title: str = ""
    corner: str = ""
    notes: tuple[str, ...] = ()
    reference: str = ""
    improvements: tuple[tuple[str, tuple[float, ...]], ...] = ()
    explanation: str = ""

    @property
    def compared(self) -> list[Row]:
        """The rows and floors that the reference was compared with."""
        return [row for row in (*self.rows, *self.floors) if any(cell.test for cell in row.cells)]

    @property
    def groups(self) -> dict[str, list[int]]:
        """The positions of the columns of each group."""
        groups: dict[str, list[int]] = {}
        for position, column in enumerate(self.columns):
            groups.setdefault(column.group, []).append(position)
        return groups

    def to_frame(self) -> pd.DataFrame:
        """One record a row and column: `row, task, split, metric, mean, std, n`; floors are rows named `floor:NAME`."""
        records = [
            (row.name, column.task, column.split, column.metric, cell.mean, cell.std, cell.n)
            for row in (*self.rows, *self.floors)
            for column, cell in zip(self.columns, row.cells, strict=True)
            if cell.n
        ]
        return pd.DataFrame(records, columns=["row", "task", "split", "metric", "mean", "std", "n"])

    def split_by_group(self) -> list[Table]:
        """One table a group of columns, with the rows of this one; without title and notes."""
        return [self._select(positions) for positions in self.groups.values()]

    def _select(self, positions: list[int]) -> Table:
        def select(rows: tuple[Row, ...]) -> tuple[Row, ...]:
            return tuple(replace(row, cells=tuple(row.cells[i] for i in positions)) for row in rows)

        return replace(
            self,
            columns=tuple(self.columns[i] for i in positions),
            rows=select(self.rows),
            floors=select(self.floors),
            improvements=tuple((text, tuple(percents[i] for i in positions)) for text, percents in self.improvements),
            title="",
            notes=(),
        )


def floor_title(name: str) -> str:
    """Return what a floor is in plain words; `name` may begin with `floor:`. One that is not known keeps its name."""
    if name == UNTRAINED:
        return "the method before pre-training"
    name = name.removeprefix(FLOOR)
    carried = name.removeprefix(CARRIED)
    title = FLOORS[carried].title if carried in FLOORS else carried
    return title if carried == name else f"{title}, fitted in another city"


def label(split: str, metric: str) -> str:
    """The name of a metric. Under a probe over folds there are two R², and the name says which."""
    name = metric_label(metric) or metric.replace("_", " ")
    return f"pooled {name}" if is_probe(split) and has_fold_mean(metric) else name


def rank_rows(means: Mapping[str, float], higher: bool) -> dict[str, int]:
    """1 for the best rows and 2 for the second best; equal means have one rank. Rows without a mean have none."""
    best = sorted({mean for mean in means.values() if not math.isnan(mean)}, reverse=higher)[:2]
    return {row: best.index(mean) + 1 for row, mean in means.items() if mean in best}


def percentage(percent: float) -> str:
    """A signed percentage: `+3.2`."""
    return "n/a" if math.isnan(percent) else f"{round(percent, 1) + 0.0:+.1f}"
