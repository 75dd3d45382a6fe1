"""Columns of any type as numbers or as text; unsuitable types are refused in one message."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
from geopandas.array import GeometryDtype

from urbankit.city.ids import MISSING, id_text
from urbankit.city.io.tables import repeated_columns
from urbankit.utils.errors import Problem, Problems, UserError
from urbankit.utils.text import list_some

UNNAMED = re.compile(r"|_duplicated_\d+|Unnamed: \d+(\.\d+)*|__index_level_\d+__|\.\.\.\d+")
"""Names that pandas, R and Polars give to a column without one."""

ROW_NUMBERS = {
    "index", "row", "rownum", "row_num", "row_number", "row number", "rowid", "row_id", "row.names", "rownames",
    "fid", "ogc_fid", "objectid", "objectid_1", "oid", "gid", "id", "serial", "#",
}  # fmt: skip
"""Names of columns, in lower case, that hold row numbers if their values count the rows."""

_GEOMETRY_TEXT = r"^\s*(SRID=\d+;)?(MULTI)?(POINT|LINESTRING|POLYGON)\s*(Z|M|ZM)?\s*(\(|EMPTY)"
_DESCRIPTIONS: list[tuple[type[pl.DataType], str]] = [
    (pl.List, "lists"), (pl.Array, "lists"), (pl.Struct, "records"), (pl.Binary, "bytes"), (pl.Date, "dates"),
    (pl.Datetime, "dates with a time"), (pl.Time, "times of day"), (pl.Duration, "durations"), (pl.Object, "objects"),
]  # fmt: skip


def is_text(dtype: pl.DataType) -> bool:
    """Whether a column holds text, as it is or in a dictionary."""
    return isinstance(dtype, pl.String | pl.Categorical | pl.Enum)


def is_geometry(dtype: pl.DataType) -> bool:
    """Whether a column holds geometries, as GeoParquet stores them."""
    return isinstance(dtype, pl.BaseExtension) and dtype.ext_name().startswith(("geoarrow.", "ogc."))


def holds_numbers(dtype: pl.DataType) -> bool:
    """Whether the values of a column are numbers, or text that may hold numbers."""
    return dtype.is_numeric() or is_text(dtype) or isinstance(dtype, pl.Boolean | pl.Null)


def holds_text(dtype: pl.DataType) -> bool:
    """Whether the values of a column have one form as text."""
    return holds_numbers(dtype) or isinstance(dtype, pl.Date | pl.Datetime | pl.Time)


def check_numbers(column: str, dtype: pl.DataType, path: Path, key: str) -> None:
    """Raise `UserError` for a column of a type that holds no numbers: file, column, type."""
    if not holds_numbers(dtype):
        raise UserError(Problem(f"column '{column}' must hold numbers, but holds {describe(dtype)}", path, key=key))


def check_text(column: str, dtype: pl.DataType, path: Path, key: str) -> None:
    """Raise `UserError` for a column of a type that has no form as text: file, column, type."""
    if not holds_text(dtype):
        message = f"column '{column}' must hold text or numbers, one value for each row, but holds {describe(dtype)}"
        raise UserError(Problem(message, path, key=key))


def describe(dtype: pl.DataType) -> str:
    """A type in words, such as `lists (List(Int64))`."""
    if is_geometry(dtype):
        return "geometries"
    words = next((text for kind, text in _DESCRIPTIONS if isinstance(dtype, kind)), "values of another type")
    name = str(dtype)
    return f"{words} ({name if len(name) <= 60 else name[:57] + '...'})"


def number(column: str, dtype: pl.DataType) -> pl.Expr:
    """A column as float64, null where it is not a number. Its type must pass `check_numbers`."""
    value = pl.col(column)
    if is_text(dtype):
        value = value.cast(pl.String).str.strip_chars()
    return value.cast(pl.Float64, strict=False)


def is_missing(text: pl.Expr) -> pl.Expr:
    """Whether a text is null, empty or a word for a missing value."""
    return text.is_null() | text.str.strip_chars().str.to_lowercase().is_in(MISSING)


def _without_missing(text: pl.Series, missing: Collection[str | float] = ()) -> pl.Series:
    """A column of text with null where it is missing, or one of `missing`."""
    value = pl.col("text")
    absent = is_missing(value) | value.is_in([str(one) for one in missing])
    return text.to_frame("text").select(pl.when(~absent).then(value)).to_series()


def numbers(
    frame: pl.DataFrame, column: str, path: Path, key: str, missing: Collection[str | float] = ()
) -> np.ndarray:
    """float64[n], NaN where a value is empty, a word for a missing value, or one of `missing`.

    Raises `UserError` for other text, with its rows, and for a column of another type.
    """
    series = frame[column]  # the schema of a frame, and a query on it, take a time that grows with its columns
    dtype = series.dtype
    check_numbers(column, dtype, path, key)
    text = pl.col(column).cast(pl.String, strict=False)
    parsed = series.to_frame().select(number=number(column, dtype), text=text).with_row_index("row", offset=1)
    declared = [float(value) for value in missing if not isinstance(value, str)]
    absent = is_missing(pl.col("text")) | pl.col("text").str.strip_chars().is_in([str(value) for value in missing])
    invalid = parsed.filter(pl.col("number").is_null() & ~absent)
    if len(invalid):
        rows = ", ".join(f"row {row} {text!r}" for row, text in invalid.select("row", "text").head(3).iter_rows())
        more = f" and {len(invalid) - 3} more" if len(invalid) > 3 else ""
        raise UserError(Problem(f"column '{column}' must hold numbers, but: {rows}{more}", path, key=key))
    values = parsed["number"].fill_null(float("nan")).to_numpy().astype(np.float64)
    return np.where(np.isin(values, declared), np.nan, values) if declared else values


def number_matrix(
    frame: pl.DataFrame, columns: Sequence[str], path: Path, *keys: str, missing: Collection[str | float] = ()
) -> np.ndarray:
    """float64[n, columns], NaN missing. Raises `UserError` with every column that holds no numbers.

    `keys` has the key of each column in the spec, or one for all.
    """
    problems, parsed = Problems(), []
    for column, key in zip(columns, keys if len(keys) > 1 else keys * len(columns), strict=True):
        with problems.collect():
            parsed.append(numbers(frame, column, path, key, missing))
    problems.raise_if_any()
    return np.column_stack(parsed)


def texts(frame: pl.DataFrame, column: str, path: Path, key: str, missing: Collection[str | float] = ()) -> pl.Series:
    """A column as text without outer spaces: `4`, never `4.0`; null where missing, as in `numbers`.

    Raises `UserError` for a column whose type has no form as text.
    """
    check_text(column, frame.schema[column], path, key)
    return _without_missing(frame.select(id_text(column, frame.schema[column])).to_series(), missing)


def file_names(frame: pl.DataFrame, column: str, path: Path, key: str) -> pl.Series:
    """A column of relative paths: as `texts`, but `4.0` stays, and `./a//b.png` is `a/b.png`."""
    dtype = frame.schema[column]
    if not is_text(dtype):
        return texts(frame, column, path, key)
    name = frame[column].cast(pl.String).str.strip_chars()
    plain = name.str.replace_all(r"/(\./)+", "/").str.replace_all("/{2,}", "/").str.replace(r"^(\./)+", "")
    return _without_missing(plain)


def sentences(frame: pl.DataFrame, column: str, path: Path, key: str) -> pl.Series:
    """A column of text as it is, but for outer spaces; null where missing, as in `numbers`."""
    if not is_text(frame.schema[column]) and frame.schema[column] != pl.Null:
        message = f"column '{column}' must hold text, one per row, but holds {describe(frame.schema[column])}"
        raise UserError(Problem(message, path, key=key))
    return _without_missing(frame[column].cast(pl.String).str.strip_chars())


def from_pandas(column: pd.Series, path: Path, key: str) -> pl.Series:
    """A column of a vector file. Raises `UserError` if its values are of several types or of none that is known."""
    if isinstance(column.dtype, GeometryDtype):
        raise UserError(
            Problem(f"column '{column.name}' must hold text or numbers, but holds geometries", path, key=key)
        )
    try:
        return pl.from_pandas(column)
    except (TypeError, ValueError, pa.ArrowException, pl.exceptions.PolarsError, pl.exceptions.PanicException):
        names = list_some(sorted({type(value).__name__ for value in column.dropna()}))
        message = f"column '{column.name}' must hold text or numbers, but holds values of the types {names}"
        raise UserError(Problem(message, path, key=key)) from None


@dataclass
class DataColumns:
    """The `names` of the columns that hold data, and `notes` on those that were left aside."""

    names: list[str]
    notes: list[str] = field(default_factory=list)


def data_columns(frame: pl.DataFrame, others: Collection[str], path: Path, key: str) -> DataColumns:
    """The columns that hold data where a spec names none: all but `others`, geometries and row numbers.

    Raises `UserError` if two columns have one name.
    """
    repeated = repeated_columns(path)
    if repeated:
        message = f"several columns have the same name: {list_some(repeated)}; rename all but one of each"
        raise UserError(Problem(message, path, key=key))
    columns = DataColumns([])
    for name in frame.columns:
        if name in others:
            continue
        if UNNAMED.fullmatch(name):
            columns.notes.append(f"a column without a name ('{name}') is left aside; if it holds data, name it")
        elif _holds_geometry(frame[name]):
            columns.notes.append(f"the column '{name}' is left aside: it holds geometries")
        elif _counts_rows(frame[name]) and _names_row_numbers(name):
            columns.notes.append(f"the column '{name}' is left aside: it counts the rows")
        else:
            columns.names.append(name)
    return columns


def _names_row_numbers(name: str) -> bool:
    """Whether a column's name is one of row numbers; pandas names the levels of an index `level_0` and so on."""
    name = name.strip().lower()
    return name in ROW_NUMBERS or re.fullmatch(r"level_\d+", name) is not None


def _holds_geometry(column: pl.Series) -> bool:
    if column.dtype == pl.String:
        first = column.drop_nulls().head(1)
        return bool(first.str.contains(f"(?i){_GEOMETRY_TEXT}").any())
    return is_geometry(column.dtype)


def _counts_rows(column: pl.Series) -> bool:
    """Whether a column holds 0, 1, 2, … or 1, 2, 3, …; rows may be missing between them."""
    if not (column.dtype.is_integer() or column.dtype == pl.String) or column.null_count() or len(column) < 2:
        return False
    values = column.cast(pl.Int64, strict=False)
    if values.null_count():
        return False
    steps = values.diff().drop_nulls()
    return values[0] in (0, 1) and bool((steps > 0).all()) and values[-1] < 2 * len(values) + 2
