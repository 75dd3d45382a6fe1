"""The years that files, columns and rows of an embedding say."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from pathlib import Path

import polars as pl

from urbankit.city.io.codes import are_alphaearth
from urbankit.utils.errors import Problem, UserError

_YEAR = re.compile(r"(?<!\d)(19[89]\d|20[0-3]\d)(?!\d)")

DATES = ("year", "date", "datetime", "timestamp")
"""Names of columns, in lower case, that say when a row is of."""


def year_of(text: str) -> int | None:
    """Return the last year that a text contains, 1980 to 2039."""
    years = _YEAR.findall(text)
    return int(years[-1]) if years else None


def choose_year(available: Collection[int], requested: int | None, path: Path, key: str, what: str) -> int | None:
    """Return the year that is read; None if nothing says a year.

    Raises `UserError` under `key.year` if the requested year is not available, or if a choice is needed.
    """
    years = ", ".join(map(str, sorted(available)))
    if requested is None:
        if len(available) > 1:
            message = f"{what} of several years: {years}; choose one, such as `year: {max(available)}`"
            raise UserError(Problem(message, path, key=f"{key}.year"))
        return next(iter(available), None)
    if requested not in available:
        message = f"{what} of {years}, not of {requested}" if years else "nothing in it says a year; leave `year` out"
        raise UserError(Problem(message, path, key=f"{key}.year"))
    return requested


def names_of_year(names: Sequence[str], requested: int | None, path: Path, key: str, what: str) -> dict[str, str]:
    """Return the names of bands or columns that are of the year, by the names without it: `A00` for `A00_2023`.

    Without a request all names are returned as they are, unless they are AlphaEarth's: other columns may be features
    of several years. Raises `UserError` as `choose_year`.
    """
    by_year: dict[int, dict[str, str]] = {}
    for name in names:
        year = year_of(name)
        if year is not None:
            by_year.setdefault(year, {})[_YEAR.sub("", name, count=1).strip("_- .")] = name
    plain = [name for of_year in by_year.values() for name in of_year]
    say_years = len(plain) == len(names) > 0
    if requested is None and not (say_years and are_alphaearth(plain)):
        return {name: name for name in names}
    year = choose_year(by_year if say_years else (), requested, path, key, what)
    assert year is not None  # it is None only if nothing says a year, and none is requested
    return by_year[year]


def years_of_rows(frame: pl.DataFrame, names: Sequence[str] = DATES) -> tuple[str, pl.Series] | None:
    """Return the first column among `names` that says a year in every row that is not empty, and the years."""
    for name in frame.columns:
        if name.lower() not in names:
            continue
        column = frame[name]
        years = column.dt.year() if column.dtype.is_temporal() else _years(column.cast(pl.String, strict=False))
        if years.null_count() == column.null_count() < len(column):
            return name, years.cast(pl.Int64)
    return None


def _years(texts: pl.Series) -> pl.Series:
    return texts.str.extract(r"^\s*(19[89]\d|20[0-3]\d)(?:\D|$)", 1).cast(pl.Int64)
