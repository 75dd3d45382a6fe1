"""The keys of a comparison table in a suite."""

from __future__ import annotations

from pydantic import Field

from urbankit.registry.component import Params


class SuiteTable(Params):
    """One table: which rows and columns, and what they are compared with."""

    title: str = Field("", description="Heading; default the table's name.")
    rows: list[str] | None = Field(None, min_length=1, description="Rows in their order; default all of `runs`.")
    reference: str | None = Field(
        None,
        description="The row that others are compared with, and whose floors are shown; default the last.",
    )
    cities: list[str] | None = Field(None, min_length=1, description="Cities, one block each; default all.")
    splits: list[str] | None = Field(None, min_length=1, description="Split protocols, one block each; default all.")
    tasks: list[str] | None = Field(
        None, min_length=1, description="Tasks in their order; default all; `training` has times and epochs."
    )
    metrics: list[str] | None = Field(
        None,
        min_length=1,
        description="Metrics in their order, of the tasks that have them; default mae, mse, r2,"
        " macro_f1, macro_recall, kl and js, or all of a task that has none of these.",
    )
    floors: bool = Field(True, description="Whether floors are shown below the rows.")
