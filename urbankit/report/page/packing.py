"""Arrays in a page: little-endian bytes in base64, which a browser reads without parsing each number."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
from numpy.typing import NDArray

_KINDS = {"uint8": "u1", "uint16": "u2", "uint32": "u4", "int32": "i4", "float32": "f4"}


def pack(values: NDArray) -> dict[str, str]:
    """`{"type", "data"}` of an array [n] of one of the types that JavaScript has; see `decode` in `data.js`."""
    kind = _KINDS[values.dtype.name]
    return {"type": kind, "data": _base64(values.astype(values.dtype.newbyteorder("<")).tobytes())}


def pack_floats(values: Any) -> dict[str, str]:
    """Numbers [n] as float32, missing ones as NaN."""
    return pack(np.asarray(values, np.float64).astype(np.float32))


def pack_counts(values: Any) -> dict[str, str]:
    """Whole numbers [n] of at least 0 in the smallest type that holds them."""
    values = np.asarray(values, np.int64)
    largest = int(values.max(initial=0))
    kind = next(kind for kind in (np.uint8, np.uint16, np.uint32) if largest <= np.iinfo(kind).max)
    return pack(values.astype(kind))


def pack_varints(values: NDArray[np.int64]) -> dict[str, str]:
    """Integers [n] of fewer than 21 bits, either sign, in one to three bytes each.

    Zigzag (0, -1, 1, -2, … become 0, 1, 2, 3, …), then seven bits a byte, the lowest first, and the eighth bit set
    where more follow: protocol buffers' `sint32`.
    """
    values = np.asarray(values, np.int64)
    zigzag = np.where(values < 0, -2 * values - 1, 2 * values)
    if zigzag.max(initial=0) >= 1 << 21:
        raise ValueError("a number is too large for three bytes")
    lengths = 1 + (zigzag >= 1 << 7).astype(np.int64) + (zigzag >= 1 << 14)
    starts = np.cumsum(lengths) - lengths
    out = np.zeros(int(lengths.sum()), np.uint8)
    for byte in range(3):
        longer = lengths > byte
        more = (lengths[longer] > byte + 1).astype(np.int64) << 7
        out[starts[longer] + byte] = ((zigzag[longer] >> (7 * byte)) & 127) | more
    return {"type": "varint", "data": _base64(out.tobytes()), "length": str(len(values))}


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
