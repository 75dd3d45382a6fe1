"""The stand-in for a modality that is left out in a city."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import torch
from torch import Tensor

from urbankit.city.city import City
from urbankit.modalities.base import Batch, EncoderParams, ModalityEncoder


class AbsentEncoder(ModalityEncoder):
    """An encoder without any observation, in place of one whose vectors mean nothing in this city.

    A method that is built with it has the same modules otherwise, and treats all regions as without the modality.

    Args:
        encoder: The class of the encoder that it replaces.
        described: The modalities that the replaced encoder described, as `describes` said.
    """

    def __init__(
        self, encoder: type[ModalityEncoder], described: Collection[str], city: City, modality: str, dim: int
    ) -> None:
        super().__init__(EncoderParams(), city, modality, dim)
        self.describes_by = encoder.describes_by  # type: ignore[misc]  # that of the class it stands for
        self._described = frozenset(described)
        self.connect(1)

    def observations(self, of: str | None = None) -> np.ndarray:
        return np.zeros(0, dtype=np.int64)

    def describes(self, modality: str) -> bool:
        return modality in self._described

    def load(self, rows: np.ndarray, of: str | None = None) -> Tensor:
        return torch.zeros(len(rows), 1)

    def forward(self, batch: Batch) -> Tensor:
        assert isinstance(batch, Tensor)  # what `load` returns
        return batch
