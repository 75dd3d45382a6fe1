"""Tables: CSV, JSONL and Parquet through Polars, with every mistake told by file, column and row."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import polars as pl

from urbankit.utils.errors import Problems, suggest
from urbankit.utils.paths import explain_missing

MISSING = ["", "na", "n/a", "nan", "null", "none"]


def scan(path: Path, columns: dict[str, str], problems: Problems, key: str) -> pl.LazyFrame | None:
    """A lazy table with the named columns, or None with the reason in `problems`.

    `columns` maps keys of the spec to the column names they give. All columns of a CSV are text: `numbers` and
    `RegionIds` read them, so that an id never passes through a float.
    """
    if not path.is_file():
        problems.add(explain_missing(path), file=path, key=key)
        return None
    if path.stat().st_size == 0:
        problems.add("is empty", file=path, key=key)
        return None
    suffix = path.suffix.lower()
    try:
        if suffix in (".csv", ".tsv", ".txt"):
            table = pl.scan_csv(path, infer_schema=False, separator="\t" if suffix == ".tsv" else ",")
        elif suffix in (".jsonl", ".ndjson"):
            table = pl.scan_ndjson(path, infer_schema_length=None)
        elif suffix in (".parquet", ".geoparquet"):
            table = pl.scan_parquet(path)
        else:
            problems.add(f"'{path.suffix}' is not a table; use .csv, .jsonl or .parquet", file=path, key=key)
            return None
        found = table.collect_schema().names()
        if not check_columns(path, columns, found, problems, key):
            return None
        if table.select(pl.len()).collect().item() == 0:
            problems.add("has no rows", file=path, key=key)
            return None
        return table
    except (pl.exceptions.PolarsError, OSError) as error:
        problems.add(explain_unreadable(error, path), file=path, key=key)
        return None


def read(path: Path, columns: dict[str, str], problems: Problems, key: str) -> pl.DataFrame | None:
    """As `scan`, with all columns in memory."""
    table = scan(path, columns, problems, key)
    try:
        return None if table is None else table.collect()
    except (pl.exceptions.PolarsError, OSError) as error:
        problems.add(explain_unreadable(error, path), file=path, key=key)
        return None


def explain_unreadable(error: Exception, path: Path) -> str:
    """What Polars said about a file, in its first line; of JSONL, the row that is no JSON."""
    if path.suffix.lower() in (".jsonl", ".ndjson"):
        row = _first_row_not_json(path)
        if row is not None:
            return f"cannot be read, it may be truncated or damaged: row {row} is not a JSON object"
    text = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return f"cannot be read, it may be truncated or damaged: {text[:300]}"


def _first_row_not_json(path: Path) -> int | None:
    with path.open("rb") as stream:
        for row, line in enumerate(stream, start=1):
            try:
                if line.strip() and not isinstance(json.loads(line), dict):
                    return row
            except ValueError:
                return row
    return None


def check_columns(path: Path, columns: dict[str, str], found: Iterable[str], problems: Problems, key: str) -> bool:
    """Whether every named column exists; each that does not is a problem with the closest name."""
    names = [str(name) for name in found]
    missing = {spec_key: column for spec_key, column in columns.items() if column not in names}
    for spec_key, column in missing.items():
        hint = suggest(column, names)
        if len(names) == 1 and ";" in names[0]:
            hint = " The file is separated by ';': save it separated by commas."
        problems.add(f"there is no column '{column}'.{hint}", file=path, key=f"{key}.{spec_key}")
    return not missing


def numbers(frame: pl.DataFrame, column: str, path: Path, problems: Problems, key: str) -> np.ndarray | None:
    """float64[n], NaN where a cell is empty or says NA or NaN; any other text is a problem that names its row."""
    parsed = frame.select(
        number=number(column, frame.schema[column]), text=pl.col(column).cast(pl.String, strict=False)
    ).with_row_index("row", offset=1)
    wrong = parsed.filter(pl.col("number").is_null() & ~is_missing("text"))
    if len(wrong):
        rows = ", ".join(f"row {row} {text!r}" for row, text in wrong.select("row", "text").head(3).iter_rows())
        more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        problems.add(f"column '{column}' must hold numbers, but: {rows}{more}", file=path, key=key)
        return None
    return parsed["number"].fill_null(float("nan")).to_numpy().astype(np.float64)


def number(column: str, dtype: pl.DataType) -> pl.Expr:
    """A column as float64, null where it is no number."""
    value = pl.col(column)
    if dtype == pl.String:
        value = value.str.strip_chars()
    return value.cast(pl.Float64, strict=False)


def is_missing(column: str) -> pl.Expr:
    """Whether a text cell says that there is no value."""
    return pl.col(column).is_null() | pl.col(column).str.strip_chars().str.to_lowercase().is_in(MISSING)
