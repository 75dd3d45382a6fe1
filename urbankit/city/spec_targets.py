"""The models of targets that a table has by region: one column, or the columns of a distribution."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from urbankit.city.spec_base import DescribedTarget


class TableTarget(DescribedTarget):
    """A target by region."""

    table: str = Field(description="Table (CSV, JSONL, Parquet).")
    region: str = Field(description="Column with the region's id.")
    column: str = Field(description="Column with the target.")
    kind: Literal["regression", "classification"] = Field("regression", description="What is predicted.")
    missing: list[float | str] = Field([], description="Values that stand for a missing one, such as [-9999].")

    @model_validator(mode="after")
    def check_classes(self) -> TableTarget:
        if self.classes and self.kind == "regression":
            raise ValueError("`classes` are of a classification; add `kind: classification`, or remove them")
        return self


class ShareTarget(DescribedTarget):
    """Shares of several parts by region, such as age groups; the rows of the columns are divided by their sum."""

    table: str = Field(description="Table (CSV, JSONL, Parquet).")
    region: str = Field(description="Column with the region's id.")
    kind: Literal["distribution"] = Field("distribution", description="What is predicted.")
    columns: list[str] = Field(description="Columns with the counts or shares of the parts, at least two.")
    missing: list[float | str] = Field([], description="Values that stand for a missing one, such as [-9999].")

    @model_validator(mode="after")
    def check_columns(self) -> ShareTarget:
        if self.unit:
            raise ValueError("a distribution has no `unit`: it is shares, whatever the columns hold; remove the key")
        if len(self.columns) < 2:
            raise ValueError("a distribution has at least two parts; name two or more in `columns`")
        if twice := sorted({name for name in self.columns if self.columns.count(name) > 1}):
            raise ValueError(f"`columns` names {', '.join(twice)} more than once; name each part once")
        return self
