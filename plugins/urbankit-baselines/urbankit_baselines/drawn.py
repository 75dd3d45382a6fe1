"""A few observations of every region of a mini-batch, with the tokens of each in the shared space."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from urbankit.modalities.base import ModalityEncoder, move
from urbankit_baselines.encoding import autocast


class DrawnTokens(NamedTuple):
    """Unit vectors of B regions, zero where there is none.

    `vector` Tensor[B, d] of the mean over the drawn observations, `tokens` Tensor[B, L, d] of all tokens of all of
    them, and which are there: `present` bool Tensor[B], `token_present` bool Tensor[B, L].
    """

    vector: Tensor
    present: Tensor
    tokens: Tensor
    token_present: Tensor


class Observations:
    """The observations of a modality by region, of which a few are drawn at a time.

    Args:
        encoder: the modality's encoder.
        of: the modality that the observations describe, as in `encoder.observations`.

    Attributes:
        region: the region of every observation in use, sorted: int64 [M].
        present: bool Tensor[N], whether the region has any.
    """

    def __init__(self, encoder: ModalityEncoder, of: str | None = None) -> None:
        self.encoder, self.of = encoder, of
        observed = np.asarray(encoder.observations(of), dtype=np.int64)
        self.keep_only(np.ones(len(observed), dtype=bool))

    def keep_only(self, kept: np.ndarray) -> None:
        """From here on use only the observations in `kept`, bool by number as in `encoder.observations(of)`."""
        self.rows = np.flatnonzero(kept)
        self.region = np.asarray(self.encoder.observations(self.of), dtype=np.int64)[self.rows]
        bounds = np.searchsorted(self.region, np.arange(self.encoder.n_regions + 1))
        self._start = torch.from_numpy(bounds)
        self.present = self._start[1:] > self._start[:-1]

    def draw(self, regions: Tensor, limit: int) -> tuple[Tensor, Tensor, Tensor]:
        """At most `limit` observations of each of `regions` int64 [B], without replacement, by torch's generator.

        Returns positions in `rows`, the place in `regions` each belongs to, and its number among those, int64 [m].
        """
        regions = regions.cpu()
        count = self._start[regions + 1] - self._start[regions]
        owner = torch.repeat_interleave(count)
        number = torch.arange(len(owner)) - (count.cumsum(0) - count)[owner]
        # Sorting by owner + U[0, 1) shuffles the observations of every region in their place.
        order = (owner + torch.rand(len(owner), dtype=torch.float64)).argsort()
        taken = number < limit
        return (self._start[regions][owner] + number)[order][taken], owner[taken], number[taken]

    def tokens(self, regions: Tensor, limit: int, augment: bool, precision: torch.dtype | None) -> DrawnTokens:
        """What at most `limit` drawn observations of each of `regions` say."""
        encoder, device = self.encoder, regions.device
        drawn, owner, number = (x.to(device) for x in self.draw(regions, limit))
        b, d = len(regions), encoder.dim
        if not len(drawn):
            nothing = torch.zeros(b, 1, d, device=device), torch.zeros(b, 1, dtype=torch.bool, device=device)
            return DrawnTokens(nothing[0][:, 0], nothing[1][:, 0], *nothing)
        batch = encoder.load(self.rows[drawn.cpu().numpy()], self.of)
        if augment:
            seed = int(torch.randint(2**62, ()))
            batch = encoder.augment(batch, torch.Generator().manual_seed(seed))
        with autocast(device, precision):
            said = encoder.tokens(move(batch, device))
            vectors, tokens = encoder.project(said.vector).float(), encoder.project(said.tokens).float()
        count = torch.zeros(b, device=device).index_add(0, owner, torch.ones(len(owner), device=device))
        mean = torch.zeros(b, d, device=device).index_add(0, owner, vectors) / count.clamp(min=1).unsqueeze(1)
        most, length = int(count.max()), tokens.shape[1]
        place = owner, number
        laid = tokens.new_zeros(b, most, length, d).index_put(place, F.normalize(tokens, dim=2))
        there = torch.zeros(b, most, length, dtype=torch.bool, device=device).index_put(place, said.present)
        return DrawnTokens(F.normalize(mean, dim=1), count > 0, laid.flatten(1, 2), there.flatten(1, 2))
