"""Region ids: always text, and the same text whether a file holds text, integers or floats."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd
import polars as pl
from numpy.typing import ArrayLike, NDArray

MISSING = [
    "", "na", "n/a", "n.a.", "nan", "-nan", "nat", "null", "(null)", "\\n", "none", "<na>", "#n/a", "#na", "#n/a n/a",
    "#null!", "#value!", "#ref!", "#div/0!", "#name?", "#num!", "1.#qnan", "-1.#qnan", "1.#ind", "-1.#ind",
]  # fmt: skip
"""Words for a missing value, in lower case: those of pandas, R, SQL and spreadsheets."""

ROUNDED = r"^\d\.\d+[eE]\+\d+$"
"""A whole number of many digits as spreadsheets show it."""


class RegionIds:
    """Looks regions up by id.

    If all ids are distinct whole numbers, numbers are compared as such: many tools drop the zeros at the start of
    census codes.
    """

    def __init__(self, ids: Sequence[str]) -> None:
        self.ids = list(ids)
        digits = all(name.isascii() and name.isdigit() for name in self.ids)
        stripped = [_without_zeros(name) for name in self.ids] if digits else []
        self._by_number = stripped if len(set(stripped)) == len(self.ids) else []
        composed = pl.Series(self.ids, dtype=pl.String).str.normalize("NFC").to_list()
        # "é" is one character or two: both are the same id, unless the city itself tells them apart.
        self._composed = composed if len(set(composed)) == len(set(self.ids)) else self.ids
        self._normalize = self._composed is composed and not all(name.isascii() for name in self.ids)
        self._words = sorted(set(MISSING) - {name.strip().lower() for name in self.ids})

    def __len__(self) -> int:
        return len(self.ids)

    def text(self, column: str, dtype: pl.DataType) -> pl.Expr:
        """The ids of a column, as text comparable to `ids`."""
        text = id_text(column, dtype)
        if self._by_number:
            number = text.str.replace(r"^0+(\d+)$", "$1")
            if self._by_number == self.ids:
                text = number
            else:
                numbers, ids = pl.Series(self._by_number), pl.Series(self.ids)
                text = number.replace_strict(numbers, ids, default=text, return_dtype=pl.String)
        if self._normalize:
            text = text.str.normalize("NFC")
        if dtype == pl.String or isinstance(dtype, pl.Categorical | pl.Enum):
            text = pl.when(text.str.to_lowercase().is_in(self._words)).then(None).otherwise(text)
        return text.alias(column)

    def index(self, column: str, dtype: pl.DataType) -> pl.Expr:
        """The region of every row of a column, int64, -1 for an unknown id."""
        regions = pl.Series(np.arange(len(self.ids), dtype=np.int64))
        names = pl.Series(self._composed, dtype=pl.String)
        rows = self.text(column, dtype).replace_strict(names, regions, default=-1, return_dtype=pl.Int64)
        return rows.fill_null(-1).alias(column)

    def find(self, values: ArrayLike) -> NDArray[np.int64]:
        """The region of each of `values` [n], text or numbers, -1 for an unknown id."""
        array = np.asarray(values)
        if array.dtype.kind in "OUS":  # numbers among text are first looked up as they are written
            exact = {name: row for row, name in enumerate(self.ids)}
            texts = [None if _absent(value) else str(value) for value in array.tolist()]
            rows = np.array([-1 if text is None else exact.get(text, -1) for text in texts], np.int64)
            column = pl.Series("id", texts, dtype=pl.String)
        else:
            rows, column = np.full(len(array), -1), pl.Series("id", array)
        parsed = column.to_frame().select(self.index("id", column.dtype)).to_series().to_numpy()
        return np.where(rows < 0, parsed, rows)

    def unknown(self, values: Iterable[object], most: int = 3) -> str:
        """A message on ids that no region has: the first few, each with the closest ids of regions."""
        names = list(dict.fromkeys("missing (no id)" if _absent(value) else str(value) for value in values))
        messages = []
        for name in names[:most]:
            near = difflib.get_close_matches(name, self.ids, n=3, cutoff=0.5) or self.ids[:3]
            messages.append(f"'{name}' (closest: {', '.join(map(repr, near))})")
        more = f" and {len(names) - most:,} more" if len(names) > most else ""
        return f"no region of {len(self.ids):,} has the id {', '.join(messages)}{more}"


def _without_zeros(digits: str) -> str:
    return digits.lstrip("0") or "0"


def rounded_ids(ids: pl.Series) -> list[str]:
    """Return the ids that a spreadsheet wrote as `3.6061E+10`: their last digits are lost."""
    return ids.filter(ids.str.contains(ROUNDED)).to_list()


def _absent(value: object) -> bool:
    """None, NaN, NaT and pandas' NA, which alone are not equal to themselves."""
    return value is None or value is pd.NA or value != value


def id_text(column: str, dtype: pl.DataType) -> pl.Expr:
    """A column of ids as text: `36061000100`, `36061000100.0` and `" 36061000100"` are one id."""
    value = pl.col(column)
    if dtype.is_float():
        is_integer = value.is_finite() & (value == value.round()) & (value.abs() < 2**63)
        text = value.cast(pl.String)
        value = pl.when(is_integer).then(value.cast(pl.Int64, strict=False).cast(pl.String)).otherwise(text)
    else:
        value = value.cast(pl.String)
    value = value.str.strip_chars().str.replace(r"^(-?\d+)\.0+$", "$1")
    return pl.when(value == "").then(None).otherwise(value).alias(column)
