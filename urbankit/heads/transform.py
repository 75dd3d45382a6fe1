"""The form in which a regression target is learned."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray


class Transform(Protocol):
    """The form in which a regression target is learned."""

    def transform(self, y: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return values in the learned form."""
        ...

    def inverse(self, z: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return values of the learned form in the target's own units."""
        ...
