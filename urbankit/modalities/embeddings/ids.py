"""The ids of a table of embeddings, also those with a prefix, such as `geoId/36061` in the tables of PDFM."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from urbankit.city.ids import RegionIds, id_text
from urbankit.utils.errors import Problem, UserError
from urbankit.utils.text import list_some

_PREFIX = r"^(.*[/:]|\d{3}[0-9A-Z]{4}US)"
"""A prefix of Data Commons (`geoId/`), of an address, or of the census of the United States (`1400000US`)."""


@dataclass(frozen=True)
class Published:
    """A table as its authors publish it: the column of ids, and the pattern of the columns of numbers."""

    name: str
    region: str
    columns: re.Pattern[str]

    def numbers(self, columns: list[str]) -> list[str]:
        """Return those of the columns that hold the numbers."""
        return [name for name in columns if self.columns.fullmatch(name)]


PUBLISHED = (Published("PDFM", "place", re.compile(r"feature\d+")),)


def recognise(columns: list[str]) -> Published | None:
    """Return the published table that has these columns, if there is one."""
    return next((one for one in PUBLISHED if one.region in columns and one.numbers(columns)), None)


def without_prefix(
    frame: pl.DataFrame, column: str, ids: RegionIds, prefix: str | None, path: Path, key: str
) -> tuple[pl.DataFrame, list[str]]:
    """Return a table whose ids have no prefix, and notes.

    If `prefix` is None and no id is that of a region, the prefix is removed with which ids become those of regions.
    Rows with another prefix are dropped.

    Raises:
        UserError: Under `key.prefix` if no id has the prefix, or several prefixes would do.
    """
    dtype = frame.schema[column]
    if dtype != pl.String:
        return frame, []
    text = id_text(column, dtype)
    if prefix is None:
        if (frame.select(ids.index(column, dtype)).to_series() >= 0).any():
            return frame, []
        split = frame.select(prefix=text.str.extract(_PREFIX, 1), id=text.str.replace(_PREFIX, ""))
        matches = split.filter(split.select(ids.index("id", pl.String())).to_series() >= 0)
        prefixes = matches["prefix"].drop_nulls().unique().sort().to_list()
        if len(prefixes) > 1:
            message = f"ids match with the prefixes {list_some(prefixes)}; choose one, such as `prefix: {prefixes[0]}`"
            raise UserError(Problem(message, path, key=f"{key}.prefix"))
        if not prefixes:
            return frame, []
        prefix = prefixes[0]
    rows = frame.select(text.str.starts_with(prefix).fill_null(False)).to_series()
    if not rows.any():
        examples = list_some(frame[column].drop_nulls().head(3).to_list())
        message = f"no id in column '{column}' starts with '{prefix}'; it holds {examples}"
        raise UserError(Problem(message, path, key=f"{key}.prefix"))
    notes = [f"ids match the regions without their prefix '{prefix}'"]
    if not rows.all():
        notes.append(f"{int((~rows).sum()):,} rows with another prefix are skipped")
    return frame.filter(rows).with_columns(text.str.strip_prefix(prefix).alias(column)), notes
