"""Vectors in the columns of a table: one column of lists, or one column for each number."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl

from urbankit.city.io.columns import describe, holds_numbers, numbers
from urbankit.utils.errors import Problems
from urbankit.utils.text import list_some


def vectors(
    frame: pl.DataFrame, selected: list[str], path: Path, problems: Problems, key: str
) -> tuple[np.ndarray, list[str], np.ndarray] | None:
    """Return numbers [m, F], their names, and which rows have any (bool[rows], m true); None with problems added."""
    if not selected:
        if not problems:
            problems.add("has no column beside that of the ids", key=key)
        return None
    listed = [name for name in selected if is_list(frame[name])]
    if listed and len(selected) > 1:
        message = f"column '{listed[0]}' holds lists beside other columns; name it alone, or leave it out, by `columns`"
        problems.add(message, key=key)
        return None
    if listed:
        return _from_lists(frame, listed[0], problems, key)
    columns = []
    for name in selected:
        kind = frame.schema[name]
        if not holds_numbers(kind):
            problems.add(f"column '{name}' holds {describe(kind)}; name those with numbers by `columns`", key=key)
        else:
            with problems.collect():
                columns.append(numbers(frame, name, path, key))
    if len(columns) < len(selected):
        return None
    return np.column_stack(columns), selected, np.ones(len(frame), dtype=bool)


def is_list(column: pl.Series) -> bool:
    """Whether a column holds lists, in text as `[0.1, 0.2]` or numpy's `[0.1 0.2]`."""
    if column.dtype != pl.String:
        return isinstance(column.dtype, pl.List | pl.Array)
    first = column.drop_nulls().head(1)
    return len(first) == 1 and first[0].lstrip().startswith("[")


def _from_lists(
    frame: pl.DataFrame, name: str, problems: Problems, key: str
) -> tuple[np.ndarray, list[str], np.ndarray] | None:
    kind = frame.schema[name]
    inner = kind.inner if isinstance(kind, pl.List | pl.Array) else None
    if isinstance(inner, pl.DataType) and not holds_numbers(inner):
        message = f"column '{name}' must hold lists of numbers, but its lists hold {describe(inner)}"
        problems.add(f"{message}; write one list of numbers in each row", key=key)
        return None
    has = frame[name].is_not_null().to_numpy()
    rows = frame.filter(pl.col(name).is_not_null()).select("__row", name)
    if kind == pl.String:
        text = pl.col(name).str.strip_chars().str.strip_chars("[]").str.strip_chars()
        rows = rows.with_columns(text.str.replace_all(r"[,;\s]+", ",").str.split(","))
    elif isinstance(kind, pl.Array):
        rows = rows.with_columns(pl.col(name).arr.to_list())
    cells = rows.explode(name)
    parsed = cells.with_columns(number=pl.col(name).cast(pl.Float64, strict=False))
    wrong = parsed.filter(pl.col("number").is_null() & pl.col(name).is_not_null())
    if len(wrong):
        named = [f"row {row} {cell!r}" for row, cell in wrong.select("__row", name).iter_rows()]
        problems.add(f"column '{name}' must hold lists of numbers, but: {list_some(named)}", key=key)
    lengths = rows[name].list.len().to_numpy()
    usual = int(np.bincount(lengths).argmax()) if len(lengths) else 0
    ragged = np.flatnonzero(lengths != usual)
    if len(ragged):
        named = [f"row {rows['__row'][int(i)]} has {lengths[i]}" for i in ragged]
        message = f"vectors differ in length: {list_some(named)}, where most have {usual} numbers; give all as many"
        problems.add(message, key=key)
    elif not usual:
        problems.add(f"column '{name}' holds no vector", key=key)
    if len(wrong) or len(ragged) or not usual:
        return None
    values = parsed["number"].fill_null(float("nan")).to_numpy().astype(np.float64).reshape(-1, usual)
    return values, [f"{name} {i + 1}" for i in range(usual)], has
