"""Tables, read by the source of their format. Every function raises `UserError` for a table it cannot use."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import polars as pl

from urbankit.city.io.source import Source, reading, table_source
from urbankit.utils.errors import Problem, Problems, UserError, suggest
from urbankit.utils.paths import explain_missing

MISSING = ["", "na", "n/a", "nan", "null", "none"]


class CSV(Source):
    """Values separated by commas, in `.tsv` by tabs. All columns are text, so that an id never passes a float."""

    suffixes = (".csv", ".tsv", ".txt")

    def scan_table(self, path: Path) -> pl.LazyFrame:
        return pl.scan_csv(path, infer_schema=False, separator="\t" if path.suffix.lower() == ".tsv" else ",")


class JSONLines(Source):
    """One JSON object a line."""

    suffixes = (".jsonl", ".ndjson")

    def scan_table(self, path: Path) -> pl.LazyFrame:
        return pl.scan_ndjson(path, infer_schema_length=None)


def scan(path: Path, columns: Mapping[str, str], key: str) -> pl.LazyFrame:
    """A lazy table that has the named columns and at least one row.

    `columns` maps keys of the spec to column names; problems are reported under `key` and these. All columns of a CSV
    are text: `numbers` and `RegionIds` parse them, so that an id never passes through a float.
    """
    if not path.is_file():
        raise UserError(Problem(explain_missing(path), path, key=key))
    if path.stat().st_size == 0:
        raise UserError(Problem("is empty", path, key=key))
    source = table_source(path, key)
    with reading(path, key), readable(path, key):
        table = source.scan_table(path)
        check_columns(path, columns, table.collect_schema().names(), key)
        if table.select(pl.len()).collect().item() == 0:
            raise UserError(Problem("has no rows", path, key=key))
    return table


def read(path: Path, columns: Mapping[str, str], key: str) -> pl.DataFrame:
    """As `scan`, with all columns in memory."""
    table = scan(path, columns, key)
    with readable(path, key):
        return table.collect()


@contextmanager
def readable(path: Path, key: str) -> Iterator[None]:
    """Turn an error of Polars while it reads `path` into a `UserError`; for JSONL it names the damaged row."""
    try:
        yield
    except (pl.exceptions.PolarsError, OSError) as error:
        row = _first_row_not_json(path) if path.suffix.lower() in (".jsonl", ".ndjson") else None
        lines = str(error).strip().splitlines() or [type(error).__name__]
        reason = lines[0][:300] if row is None else f"row {row} is not a JSON object"
        message = f"cannot be read, it may be truncated or damaged: {reason}"
        raise UserError(Problem(message, path, key=key)) from None


def _first_row_not_json(path: Path) -> int | None:
    with path.open("rb") as stream:
        for row, line in enumerate(stream, start=1):
            try:
                if line.strip() and not isinstance(json.loads(line), dict):
                    return row
            except ValueError:
                return row
    return None


def check_columns(path: Path, columns: Mapping[str, str], available: Iterable[object], key: str) -> None:
    """Raise `UserError` with every named column that is not available, and the closest names."""
    names = [str(name) for name in available]
    problems = Problems(path)
    for spec_key, column in columns.items():
        if column not in names:
            hint = suggest(column, names)
            if len(names) == 1 and ";" in names[0]:
                hint = " The file is separated by ';': save it separated by commas."
            problems.add(f"there is no column '{column}'.{hint}", key=f"{key}.{spec_key}")
    problems.raise_if_any()


def numbers(frame: pl.DataFrame, column: str, path: Path, key: str) -> np.ndarray:
    """float64[n], NaN where a cell is empty or says NA or NaN. Raises `UserError` for other text, with its rows."""
    parsed = frame.select(
        number=number(column, frame.schema[column]), text=pl.col(column).cast(pl.String, strict=False)
    ).with_row_index("row", offset=1)
    invalid = parsed.filter(pl.col("number").is_null() & ~is_missing("text"))
    if len(invalid):
        rows = ", ".join(f"row {row} {text!r}" for row, text in invalid.select("row", "text").head(3).iter_rows())
        more = f" and {len(invalid) - 3} more" if len(invalid) > 3 else ""
        raise UserError(Problem(f"column '{column}' must hold numbers, but: {rows}{more}", path, key=key))
    return parsed["number"].fill_null(float("nan")).to_numpy().astype(np.float64)


def number_matrix(frame: pl.DataFrame, columns: Sequence[str], path: Path, *keys: str) -> np.ndarray:
    """float64[n, columns], NaN missing. Raises `UserError` with every column that holds text.

    `keys` has the key of each column in the spec, or one for all.
    """
    problems, parsed = Problems(), []
    for column, key in zip(columns, keys if len(keys) > 1 else keys * len(columns), strict=True):
        with problems.collect():
            parsed.append(numbers(frame, column, path, key))
    problems.raise_if_any()
    return np.column_stack(parsed)


def number(column: str, dtype: pl.DataType) -> pl.Expr:
    """A column as float64, null where it is not a number."""
    value = pl.col(column)
    if dtype == pl.String:
        value = value.str.strip_chars()
    return value.cast(pl.Float64, strict=False)


def is_missing(column: str) -> pl.Expr:
    """Whether a text cell is empty or a word for a missing value."""
    return pl.col(column).is_null() | pl.col(column).str.strip_chars().str.to_lowercase().is_in(MISSING)
