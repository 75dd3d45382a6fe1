"""Random observations of each region of a mini-batch, with their tokens in the shared space."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from urbankit.modalities.base import ModalityEncoder, move
from urbankit.utils.device import autocast


class RegionTokens(NamedTuple):
    """Unit vectors of B regions, zero for regions without observations and for padding.

    Attributes:
        vector: the mean over the drawn observations, [B, d].
        present: which regions have an observation, bool [B].
        tokens: all tokens of all drawn observations, padded, [B, L, d].
        token_present: which tokens are not padding, bool [B, L].
    """

    vector: Tensor
    present: Tensor
    tokens: Tensor
    token_present: Tensor


class Observations:
    """Random samples of the observations of a modality, by region.

    Args:
        encoder: the modality's encoder.
        of: the modality that the observations describe, as in `encoder.observations`.

    Attributes:
        rows: the selected observations, as numbered by `encoder.observations(of)`: int64 [M].
        region: the region of every selected observation, sorted: int64 [M].
        present: which regions have a selected observation, bool [N].
    """

    def __init__(self, encoder: ModalityEncoder, of: str | None = None) -> None:
        self.encoder, self.of = encoder, of
        observed = np.asarray(encoder.observations(of), dtype=np.int64)
        self.select(np.ones(len(observed), dtype=bool))

    def select(self, mask: np.ndarray) -> None:
        """Use only the observations in `mask` from now on, a bool per row of `encoder.observations(of)`."""
        self.rows = np.flatnonzero(mask)
        self.region = np.asarray(self.encoder.observations(self.of), dtype=np.int64)[self.rows]
        bounds = np.searchsorted(self.region, np.arange(self.encoder.n_regions + 1))
        self._start = torch.from_numpy(bounds)
        self.present = self._start[1:] > self._start[:-1]

    def draw(self, regions: Tensor, limit: int) -> tuple[Tensor, Tensor, Tensor]:
        """Draw up to `limit` observations of each of `regions` (int64 [B]), without replacement, by torch's generator.

        Returns:
            Of each drawn observation its position in `rows`, the position of its region in `regions`, and its number
            among those of the region; all int64 [m].
        """
        regions = regions.cpu()
        count = self._start[regions + 1] - self._start[regions]
        owner = torch.repeat_interleave(count)
        number = torch.arange(len(owner)) - (count.cumsum(0) - count)[owner]
        # Sorting by owner + U[0, 1) shuffles the observations within every region.
        order = (owner + torch.rand(len(owner), dtype=torch.float64)).argsort()
        mask = number < limit
        return (self._start[regions][owner] + number)[order][mask], owner[mask], number[mask]

    def tokens(self, regions: Tensor, limit: int, augment: bool, precision: torch.dtype | None) -> RegionTokens:
        """Return the vectors and tokens of up to `limit` drawn observations of each of `regions` (int64 [B])."""
        encoder, device = self.encoder, regions.device
        drawn, owner, number = (x.to(device) for x in self.draw(regions, limit))
        b, d = len(regions), encoder.dim
        if not len(drawn):
            empty, absent = torch.zeros(b, 1, d, device=device), torch.zeros(b, 1, dtype=torch.bool, device=device)
            return RegionTokens(empty[:, 0], absent[:, 0], empty, absent)
        batch = encoder.load(self.rows[drawn.cpu().numpy()], self.of)
        if augment:
            seed = int(torch.randint(2**62, ()))
            batch = encoder.augment(batch, torch.Generator().manual_seed(seed))
        with autocast(device, precision):
            encoded = encoder.tokens(move(batch, device))
            vectors, tokens = encoder.project(encoded.vector).float(), encoder.project(encoded.tokens).float()
        count = torch.zeros(b, device=device).index_add(0, owner, torch.ones(len(owner), device=device))
        mean = torch.zeros(b, d, device=device).index_add(0, owner, vectors) / count.clamp(min=1).unsqueeze(1)
        most, length = int(count.max()), tokens.shape[1]
        index = owner, number
        padded = tokens.new_zeros(b, most, length, d).index_put(index, F.normalize(tokens, dim=2))
        present = torch.zeros(b, most, length, dtype=torch.bool, device=device).index_put(index, encoded.present)
        return RegionTokens(F.normalize(mean, dim=1), count > 0, padded.flatten(1, 2), present.flatten(1, 2))
