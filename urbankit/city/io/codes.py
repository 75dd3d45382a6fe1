"""8-bit codes of published embeddings, which are no numbers to average or to learn from until they are decoded."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal

import numpy as np

from urbankit.utils.errors import UserError

Codes = Literal["auto", "alphaearth", "none"]

FEWEST = 32
"""The fewest columns of an embedding in 8-bit codes."""

LARGEST_DECODED = 1.0
"""The largest magnitude of a decoded value of AlphaEarth, whose vectors have length 1."""

ALPHAEARTH_GDAL = "sign(A)*(A/127.5)**2"
"""The formula that decodes AlphaEarth, as `gdal_calc --calc` takes it."""

DECODED = "8-bit codes of AlphaEarth were decoded by sign(c)·(c / 127.5)²"
"""The note on values that were decoded."""

_NO_CODES = (
    "holds values beyond ±1 that are no 8-bit codes, such as means of codes of AlphaEarth; decode the codes first by "
    f"{ALPHAEARTH_GDAL} and average then, or write `codes: none` if they are numbers"
)
_CODES_OF_ALPHAEARTH = (
    "holds 8-bit codes of AlphaEarth in another type; write `codes: alphaearth` to decode them, or `codes: none` if "
    "they are numbers"
)
_LIKE_CODES = (
    "holds whole numbers from -128 to 127 in every column, which look like the 8-bit codes of an embedding; write "
    "`codes: alphaearth` to decode those of AlphaEarth, decode others as their authors say, or write `codes: none` if "
    "they are numbers"
)

_ALPHAEARTH_NAME = re.compile(r"(\d{4}[-_. ])?A\d\d([-_. ]\d{4})?", re.IGNORECASE)
"""A band, perhaps with a year, such as `A00` or `A00_2023`."""


def decode_alphaearth(codes: np.ndarray) -> np.ndarray:
    """Return the values of 8-bit codes of AlphaEarth: sign(c)·(c / 127.5)², NaN for -128.

    The formula is that of the readme of Google's bucket `alphaearth_foundations`.
    """
    return np.where(codes == -128, np.nan, np.sign(codes) * (codes / 127.5) ** 2)


def decode(values: np.ndarray, names: Sequence[str], codes: Codes = "auto") -> tuple[np.ndarray, list[str]]:
    """Return embeddings as numbers, and notes on what was decoded.

    Args:
        values: float64[M, F], NaN missing.
        names: The names of the F columns.
        codes: What the values are: `alphaearth` for its 8-bit codes, `none` for numbers; `auto` recognises columns A00
            to A63 with codes.

    Raises:
        UserError: For means of codes, and in `auto` for other values that look like 8-bit codes.
    """
    if codes == "none" or not np.isfinite(values).any():
        return values, []
    if codes == "alphaearth" or is_coded_alphaearth(values, names):
        if not _are_codes(values):
            raise UserError(_NO_CODES)
        return decode_alphaearth(values), [DECODED]
    if len(names) >= FEWEST and _are_codes(values) and np.nanmin(values) < -LARGEST_DECODED:
        raise UserError(_LIKE_CODES)
    return values, []


def is_coded_alphaearth(values: np.ndarray, names: Sequence[str]) -> bool:
    """Return whether columns have the names of AlphaEarth's bands, and values that only its codes have."""
    return are_alphaearth(names) and bool((np.abs(values[np.isfinite(values)]) > LARGEST_DECODED).any())


def are_alphaearth(names: Sequence[str]) -> bool:
    """Return whether all names are of AlphaEarth's bands, such as A00."""
    return all(_ALPHAEARTH_NAME.fullmatch(name) for name in names)


def _are_codes(values: np.ndarray) -> bool:
    finite = values[np.isfinite(values)]
    return bool((finite == np.rint(finite)).all() and (finite >= -128).all() and (finite <= 127).all())


class CellDecoder:
    """Decodes the cells of a raster before they are averaged, and refuses codes that it cannot decode.

    Args:
        names: The names of the bands.
        dtypes: Their types.
        codes: As for `decode`. `auto` decodes signed 8-bit integers in bands A00 to A63.

    Raises:
        UserError: In `auto` for other bands of 8-bit codes.
    """

    def __init__(self, names: Sequence[str], dtypes: Sequence[str], codes: Codes) -> None:
        is_int8 = set(dtypes) == {"int8"}
        if codes == "auto" and is_int8 and len(names) >= FEWEST and not are_alphaearth(names):
            raise UserError(
                f"has {len(names)} bands of 8-bit codes, whose means over regions are no embedding; write `codes: "
                f"alphaearth` if they are AlphaEarth's, decode others as their authors say, or write `codes: none` if "
                "they are numbers"
            )
        self.decodes = codes == "alphaearth" or (codes == "auto" and is_int8 and are_alphaearth(names))
        self._names, self._watches = names, codes == "auto"
        self._low, self._high, self._are_codes = np.inf, -np.inf, True

    def __call__(self, cells: np.ndarray) -> np.ndarray:
        """Return cells as numbers; NaN is missing. Raises `UserError` if they are decoded but are no codes."""
        finite = cells[np.isfinite(cells)]
        if not len(finite):
            return cells
        if self.decodes:
            if not _are_codes(finite):
                raise UserError(_NO_CODES)
            return decode_alphaearth(cells)
        self._low, self._high = min(self._low, finite.min()), max(self._high, finite.max())
        self._are_codes = self._are_codes and _are_codes(finite)
        return cells

    def check(self) -> list[str]:
        """Return notes on the cells that were read. Raises `UserError` if they turned out to be codes."""
        if self.decodes:
            return [DECODED]
        if not self._watches or self._low > self._high:
            return []
        if are_alphaearth(self._names) and max(-self._low, self._high) > LARGEST_DECODED:
            raise UserError(_CODES_OF_ALPHAEARTH if self._are_codes else _NO_CODES)
        if len(self._names) >= FEWEST and self._are_codes and self._low < -LARGEST_DECODED:
            raise UserError(_LIKE_CODES)
        return []
