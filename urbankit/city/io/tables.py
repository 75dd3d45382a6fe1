"""Tables, read by the source of their format. Every function raises `UserError` for a table it cannot use."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import polars as pl
import pyarrow as pa

from urbankit.city.io.source import find_source, reading, table_source
from urbankit.utils.errors import Problem, Problems, UserError, suggest
from urbankit.utils.paths import explain_missing
from urbankit.utils.text import first_line


def scan(path: Path, columns: Mapping[str, str], key: str, *, only_named: bool = True) -> pl.LazyFrame:
    """A lazy table that has the named columns and at least one row.

    `columns` maps keys of the spec to column names; problems are reported under `key` and these. All columns of a CSV
    are text: `numbers` and `RegionIds` parse them, so that an id never passes through a float. Compare the number of
    rows that were read by `check_rows`. `only_named`: no other column is read, so that damage in one does not matter.
    """
    if not path.is_file():
        raise UserError(Problem(explain_missing(path), path, key=key))
    if path.stat().st_size == 0:
        raise UserError(Problem("is empty", path, key=key))
    source = table_source(path, key)
    with reading(path, key), readable(path, key):
        source.check_table(path, set(columns.values()) if only_named else None)
        table = source.scan_table(path)
        check_columns(path, columns, table.collect_schema().names(), key)
        # The first row alone does not show a quote that is never closed.
        if not len(table.head(1).collect()) and not len(table.collect()):
            raise UserError(Problem("has no rows", path, key=key))
    return table


def read(path: Path, columns: Mapping[str, str], key: str) -> pl.DataFrame:
    """As `scan`, with all columns in memory."""
    table = scan(path, columns, key, only_named=False)
    with readable(path, key):
        frame = table.collect()
    check_rows(path, len(frame), key)
    return frame


def check_rows(path: Path, rows: int, key: str) -> None:
    """Raise `UserError` if fewer rows were read than the file has: damage may end a stream of Polars early."""
    source = find_source(path)
    with readable(path, key):
        expected = None if source is None else source.rows(path)
    if expected is not None and rows != expected:
        raise UserError(Problem(f"only {rows:,} of {expected:,} rows could be read: it is damaged", path, key=key))


@contextmanager
def readable(path: Path, key: str) -> Iterator[None]:
    """Turn an error of Polars or Arrow while it reads `path` into a `UserError` that names the row if it is known."""
    try:
        yield
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, pa.ArrowException, OSError) as error:
        source = find_source(path)
        reason = (source and source.explain_damage(path)) or first_line(error)
        message = f"cannot be read, it may be truncated or damaged: {reason}"
        raise UserError(Problem(message, path, key=key)) from None


def repeated_columns(path: Path) -> list[str]:
    """The names that several columns of a table have."""
    source = find_source(path)
    return source.repeated_columns(path) if source is not None and path.is_file() else []


def check_columns(path: Path, columns: Mapping[str, str], available: Iterable[object], key: str) -> None:
    """Raise `UserError` with every named column that is not available or not unique, and the closest names."""
    names = [str(name) for name in available]
    options, repeated, problems = set(names), repeated_columns(path), Problems(path)
    for spec_key, column in columns.items():
        if column in repeated:
            problems.add(f"several columns have the name '{column}'; rename all but one", key=f"{key}.{spec_key}")
        elif column not in options:
            hint = suggest(column, names)
            separator = next((one for one in ";\t|" if any(column in _split(name, one) for name in names)), None)
            if separator is not None:
                hint = f" The file is separated by {separator!r}: save it separated by commas."
            problems.add(f"there is no column '{column}'.{hint}", key=f"{key}.{spec_key}")
    problems.raise_if_any()


def _split(name: str, separator: str) -> list[str]:
    return [part.strip(' "') for part in name.split(separator)] if separator in name else []
