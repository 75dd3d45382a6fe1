"""The vectors a method takes from its modalities: one a region and channel."""

from __future__ import annotations

from contextlib import nullcontext

import torch
from torch import Tensor, nn

from urbankit.methods.base import MethodInputs
from urbankit.modalities.pooling import RegionEncoder
from urbankit.utils.errors import Problem, UserError
from urbankit.utils.torch_modules import NamedModules


class Channels(nn.Module):
    """Encodes mini-batches of regions, modality by modality, into the shared space.

    A channel is a modality's own observations (`svi`) or those of a modality that describes another's: `text/svi` are
    the captions of the street views, `location/svi` the points where they were taken. A region's vector is the mean
    over its observations (eq. 15).

    `alignments` are pairs of channels, `features` those that make the node features. Where the backbone of an encoder
    is frozen its outputs are computed once, by `keep`; `kept` says whether that is so for all of them. Raises
    `UserError` where nothing is left to make node features of.
    """

    def __init__(
        self,
        inputs: MethodInputs,
        dim: int,
        alignments: list[tuple[str, str]],
        features: list[str] | None,
        max_observations: int | None,
    ) -> None:
        super().__init__()
        self.max_observations, self.precision = max_observations, inputs.precision
        self.encoders = NamedModules({name: inputs.encoder(name, dim) for name in inputs.modalities})
        pairs = [(first, self._described(second, first)) for first, second in alignments]
        self.features = self._default_features() if features is None else self._available(features)
        if not self.features:
            asked = ", ".join(features or []) or "none"
            message = f"the city has none of the modalities that make the node features ({asked}); name one that it has"
            raise UserError(Problem(message, key="method.features"))
        named = dict.fromkeys([*self.features, *(channel for pair in pairs for channel in pair)])
        self.pools = {channel: self._pool(channel) for channel in named}
        self.alignments = [pair for pair in pairs if all(self.pools[c].present.any() for c in pair)]
        self.kept = False

    def forward(self, regions: Tensor) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Vectors [B, dim] in float32 and presence (bool [B]) of every channel, for region indices int64 [B]."""
        vectors, present = {}, {}
        limit = self.max_observations if self.training else None
        for channel, pool in self.pools.items():
            encoder = self._encoder(channel)
            with self._autocast(regions.device):
                pooled, present[channel] = pool.encode(regions, max_observations=limit, augment=self.training)
                vectors[channel] = encoder.project(pooled).float()
        return vectors, present

    def prefetch(self, regions: Tensor) -> None:
        """Start reading the observations of the next training batch in the background."""
        for pool in self.pools.values():
            pool.prefetch(regions, max_observations=self.max_observations, augment=True)

    def keep(self) -> None:
        """Compute the outputs of all encoders whose backbone is frozen; from here on only projections are computed."""
        for channel, pool in self.pools.items():
            if self._encoder(channel).frozen:
                pool.keep(precision=self.precision)
        self.kept = all(encoder.frozen for encoder in self.encoders.values())

    def parts(self) -> dict[str, list[nn.Parameter]]:
        """The trainable parameters of the encoders' backbones and of their projections."""
        parts = [encoder.parts() for encoder in self.encoders.values()]
        return {
            "encoders": [p for part in parts for p in part["backbone"]],
            "projections": [p for part in parts for p in part["projection"]],
        }

    def _encoder(self, channel: str) -> nn.Module:
        return self.encoders[modality(channel)]

    def _autocast(self, device: torch.device) -> torch.autocast | nullcontext:
        return nullcontext() if self.precision is None else torch.autocast(device.type, dtype=self.precision)

    def _described(self, modality: str, anchor: str) -> str:
        """The channel of `modality` that belongs to `anchor`'s observations, or the modality's own."""
        return f"{modality}/{anchor}" if self.encoders[modality].describes(anchor) else modality

    def _default_features(self) -> list[str]:
        own = [name for name in self.encoders if name != "text"] or list(self.encoders)
        points = [self._described("location", name) for name in own] if "location" in self.encoders else []
        return list(dict.fromkeys([*own, *points]))

    def _available(self, features: list[str]) -> list[str]:
        return [name for name in features if all(part in self.encoders for part in name.split("/"))]

    def _pool(self, channel: str) -> RegionEncoder:
        _, _, anchor = channel.partition("/")
        return RegionEncoder(self._encoder(channel), anchor or None)


def modality(channel: str) -> str:
    """The modality whose observations a channel has: `text` of `text/svi`."""
    return channel.split("/")[0]
