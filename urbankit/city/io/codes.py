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

_ALPHAEARTH_NAME = re.compile(r"A\d\d", re.IGNORECASE)


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
            raise UserError(
                "holds values beyond ±1 that are no 8-bit codes, such as means of codes of AlphaEarth; decode the "
                f"codes first by {ALPHAEARTH_GDAL} and average then, or write `codes: none` if they are numbers"
            )
        return decode_alphaearth(values), ["8-bit codes of AlphaEarth were decoded by sign(c)·(c / 127.5)²"]
    if len(names) >= FEWEST and _are_codes(values) and np.nanmin(values) < -LARGEST_DECODED:
        raise UserError(
            "holds whole numbers from -128 to 127 in every column, which look like the 8-bit codes of an embedding; "
            "write `codes: alphaearth` to decode those of AlphaEarth, decode others as their authors say, or write "
            "`codes: none` if they are numbers"
        )
    return values, []


def is_coded_alphaearth(values: np.ndarray, names: Sequence[str]) -> bool:
    """Return whether columns have the names of AlphaEarth's bands, and values that only its codes have."""
    named = all(_ALPHAEARTH_NAME.fullmatch(name) for name in names)
    return named and bool((np.abs(values[np.isfinite(values)]) > LARGEST_DECODED).any())


def _are_codes(values: np.ndarray) -> bool:
    finite = values[np.isfinite(values)]
    return bool((finite == np.rint(finite)).all() and (finite >= -128).all() and (finite <= 127).all())


def check_bands(dtypes: Sequence[str], codes: Codes) -> None:
    """Raise `UserError` for a raster of 8-bit codes: means of bands would be means of codes."""
    if codes != "none" and len(dtypes) >= FEWEST and set(dtypes) == {"int8"}:
        raise UserError(
            "has bands of 8-bit codes, whose means over regions are no embedding; decode it first, such as AlphaEarth "
            f"by `gdal_calc -A IN.tif --allBands=A --outfile=OUT.tif --type=Float32 --calc='{ALPHAEARTH_GDAL}'`, or "
            "write `codes: none` if they are numbers"
        )
