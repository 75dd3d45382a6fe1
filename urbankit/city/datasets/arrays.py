"""Reading `.npy` files of other people: numbers only, of a stated shape."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np

from urbankit.utils.content import explain_content
from urbankit.utils.errors import Problem, UserError

LARGEST = 1 << 32
"""The most bytes of an array that is read."""


def read_array(path: Path, shapes: Sequence[tuple[int | str, ...]], reason: str = "") -> np.ndarray:
    """Return the array of a `.npy` file as float64.

    Pickled objects are refused and never loaded. The whole array is checked before any of it is read.

    Args:
        path: The file.
        shapes: The shapes that it may have; a text is any length, such as `(180, "categories")`.
        reason: What the shape follows from, as the end of a message: ` for the 180 regions of the city`.

    Raises:
        UserError: If the file is not an array of numbers, of another shape, or shorter than its header says.
    """
    return np.array(map_array(path, shapes, reason), np.float64)


def map_array(path: Path, shapes: Sequence[tuple[int | str, ...]], reason: str = "") -> np.ndarray:
    """Return the array of a `.npy` file as it is stored, read when it is used. Arguments and errors of `read_array`."""
    with path.open("rb") as stream:
        shape, fortran, dtype = _read_header(stream, path)
        start = stream.tell()
        _check(path, shape, dtype, shapes, reason, size=path.stat().st_size - start)
    if not math.prod(shape):
        return np.empty(shape, dtype)
    return np.memmap(path, dtype, "r", offset=start, shape=shape, order="F" if fortran else "C")


def array_shape(path: Path) -> tuple[int, ...]:
    """Return the shape of the array in a `.npy` file. Raises `UserError` if it is not an array of numbers."""
    with path.open("rb") as stream:
        shape, _, dtype = _read_header(stream, path)
        _check(path, shape, dtype, [shape], "", size=path.stat().st_size - stream.tell())
    return shape


def _read_header(stream: BinaryIO, path: Path) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Return shape, whether the order is Fortran's, and type. Raises `UserError` if it is no header of an array."""
    try:
        version = np.lib.format.read_magic(stream)
        if version == (1, 0):
            return np.lib.format.read_array_header_1_0(stream)
        if version == (2, 0):
            return np.lib.format.read_array_header_2_0(stream)
        error: Exception = ValueError(f"version {version[0]}.{version[1]} of the format is unknown")
    except Exception as wrong:  # NumPy parses the header as Python, which raises errors of many kinds
        error = wrong
    message = f"is not a NumPy array ({error}){explain_content(path)}; save it with `np.save(path, array)`"
    raise UserError(Problem(message, path))


def _check(
    path: Path,
    shape: tuple[int, ...],
    dtype: np.dtype,
    shapes: Sequence[tuple[int | str, ...]],
    reason: str,
    *,
    size: int,
) -> None:
    if dtype.hasobject:
        message = (
            "holds pickled Python objects, which may run code when they are loaded, and is not read; save it as "
            "numbers: `np.save(path, array.astype(float))`"
        )
        raise UserError(Problem(message, path))
    if dtype.kind not in "biuf":
        raise UserError(Problem(f"holds values of the type {dtype}, not numbers", path))
    if not any(_fits(shape, expected) for expected in shapes):
        allowed = " or ".join(_written(expected) for expected in shapes)
        raise UserError(Problem(f"has the shape {_written(shape)}, expected {allowed}{reason}", path))
    expected_size = math.prod(shape) * dtype.itemsize
    if expected_size > LARGEST:
        raise UserError(Problem(f"holds {expected_size:,} bytes, more than {LARGEST:,}", path))
    if size != expected_size:
        message = f"has {size:,} bytes of data, but its header says {expected_size:,}: it was cut short or damaged"
        raise UserError(Problem(f"{message}; fetch it again", path))


def _fits(shape: tuple[int, ...], expected: tuple[int | str, ...]) -> bool:
    return len(shape) == len(expected) and all(
        isinstance(wide, str) or length == wide for length, wide in zip(shape, expected, strict=True)
    )


def _written(shape: Sequence[int | str]) -> str:
    return f"({', '.join(map(str, shape))}{',' if len(shape) == 1 else ''})"
