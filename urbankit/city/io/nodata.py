"""Values of cells that look like nodata but are not declared so."""

from __future__ import annotations

import threading

import numpy as np

_INTEGERS = (
    [sign * (10.0**digits - 1) for digits in range(3, 8) for sign in (-1, 1)]  # 999 to 9999999
    + [-32768.0, -32767.0, -2147483648.0, -2147483647.0, -666666666.0, 65535.0, 65534.0, 2147483647.0, 4294967295.0]
    + [127.0, -128.0, 255.0, 32767.0]
)
NODATA_VALUES = frozenset(_INTEGERS + [float(np.float32(value)) for value in _INTEGERS])
"""Numbers that often stand for a missing value, of which some are values in other rasters."""

HUGE = 1e15
"""Beyond it no value of a raster is plausible; fill values such as 1e20 and 3.4e38 are."""


class NodataWatch:
    """Watches cells for a lowest or highest value that looks like nodata; threads may share it.

    A value of `NODATA_VALUES` looks like nodata if its distance to the other values is larger than their range, or if
    it is the only negative value. A value beyond `HUGE` always looks like nodata.
    """

    def __init__(self) -> None:
        self._values: set[float] = set()
        self._low, self._high = np.inf, -np.inf
        self._lock = threading.Lock()

    def add(self, cells: np.ma.MaskedArray) -> None:
        """Look at some cells of a band."""
        values = cells.compressed()
        values = values[np.isfinite(values)] if np.issubdtype(values.dtype, np.floating) else values
        removed: set[float] = set()
        while len(values):
            extremes = {float(values.min()), float(values.max())}
            suspects = [value for value in extremes if abs(value) > HUGE or value in NODATA_VALUES]
            if not suspects or len(removed) > 10:
                break
            for value in suspects:
                values = values[values != value]
            removed.update(suspects)
        with self._lock:
            self._values |= removed
            if len(values):
                self._low, self._high = min(self._low, float(values.min())), max(self._high, float(values.max()))

    def suspects(self) -> list[float]:
        """Return the values that look like nodata."""
        low, high = self._low, self._high
        suspects = []
        for value in sorted(self._values):
            gap = max(low - value, value - high)
            outlies = gap > high - low > 0 or (value < 0 <= low)
            if abs(value) > HUGE or (np.isfinite(low) and gap > 0 and outlies):
                suspects.append(value)
        return suspects

    def notes(self, name: str) -> list[str]:
        """Return sentences for the user on the raster `name`."""
        return [
            f"{name} holds the value {value:.10g}, which looks like nodata but is not declared so; "
            f"add `nodata: [{value:.10g}]` in the city file if it stands for missing cells"
            for value in self.suspects()
        ]
