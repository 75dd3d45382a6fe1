"""Random fields: smooth ones over the plane, and repeatable noise on integer lattices."""

from __future__ import annotations

import numpy as np


def smooth_field(xy: np.ndarray, rng: np.random.Generator, length: float, waves: int = 96) -> np.ndarray:
    """A Gaussian random field of mean 0 and variance 1 at points `xy` (float[n, 2]); float[n].

    A sum of `waves` random plane waves (Rahimi and Recht 2007) with covariance exp(-d² / 2 length²), so that
    time and memory are linear in the number of points. `length` has the unit of `xy`.
    """
    frequency = rng.standard_normal((2, waves)) / length
    phase = rng.uniform(0, 2 * np.pi, waves)
    field = np.empty(len(xy))
    for start in range(0, len(xy), 1 << 14):
        rows = slice(start, start + (1 << 14))
        field[rows] = np.cos(xy[rows] @ frequency + phase).sum(axis=1)
    return field * np.sqrt(2 / waves)


def lattice_noise(column: np.ndarray, row: np.ndarray, salt: np.ndarray | int) -> np.ndarray:
    """Uniform noise in [0, 1) that is a fixed function of integers (column, row, salt); float32 of their shape.

    Integer mixing as in "murmur3"'s finaliser, so that any part of a picture can be drawn separately.
    """
    key = column.astype(np.int32).view(np.uint32) * np.uint32(0x8DA6B343)
    key = key ^ row.astype(np.int32).view(np.uint32) * np.uint32(0xD8163841)
    key = key ^ np.asarray(salt).astype(np.uint32) * np.uint32(0xCB1AB31F)
    key ^= key >> np.uint32(16)
    key *= np.uint32(0x85EBCA6B)
    key ^= key >> np.uint32(13)
    key *= np.uint32(0xC2B2AE35)
    key ^= key >> np.uint32(16)
    return (key >> np.uint32(8)).astype(np.float32) * np.float32(2**-24)


def value_noise(x: np.ndarray, y: np.ndarray, salt: np.ndarray | int) -> np.ndarray:
    """Continuous noise in [0, 1) with features of unit size: `lattice_noise`, bilinearly interpolated."""
    column, row = np.floor(x), np.floor(y)
    right, up = (x - column).astype(np.float32), (y - row).astype(np.float32)
    right, up = right * right * (3 - 2 * right), up * up * (3 - 2 * up)
    low = lattice_noise(column, row, salt) * (1 - right) + lattice_noise(column + 1, row, salt) * right
    high = lattice_noise(column, row + 1, salt) * (1 - right) + lattice_noise(column + 1, row + 1, salt) * right
    return low * (1 - up) + high * up
