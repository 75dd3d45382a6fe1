"""Section 3.3 of the UrbanMMCL paper: vectors of each modality, their alignment by contrast, and node features."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from urbankit import registry
from urbankit.fusion.base import Fusion
from urbankit.graph.base import HeldOut
from urbankit.methods.base import Matched, MethodInputs
from urbankit.methods.losses import two_way_info_nce
from urbankit.methods.pair_weights import PairWeight
from urbankit.methods.urbanmmcl.joining import any_present, join_vectors
from urbankit.methods.urbanmmcl.modality_groups import ModalityGroup, ModalityGroups, group_members
from urbankit.methods.urbanmmcl.params import Pair
from urbankit.modalities.base import ModalityEncoder
from urbankit.modalities.pooling import RegionEncoder
from urbankit.registry.component import Use
from urbankit.utils.device import autocast
from urbankit.utils.errors import Problem, UserError
from urbankit.utils.torch_modules import NamedModules


@dataclass(frozen=True, eq=False)
class MultimodalContrast:
    """Cross-modality alignment and fusion (section 3.3.3).

    The modules belong to the method, which names them in its checkpoints.

    Attributes:
        channels: encodes the regions and knows the alignments and the channels of the node features.
        caption_weights: by alignment, how much each pair counts; beyond the paper.
        fusion: makes the node features of eq. 16.
        temperature: gives τ of eq. 12 and 13.
    """

    channels: Channels
    caption_weights: NamedModules[PairWeight]
    fusion: Fusion
    temperature: Temperature

    def losses(self, vectors: dict[str, Tensor], present: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the terms of eq. 14, `L_mmcl = L_rsi-text + L_rsi-loc + L_svi-text + L_svi-loc`, by alignment.

        Each is a two-way InfoNCE (eq. 12 with text, eq. 13 with location) over the regions with both modalities:
        `-1/N (Σᵢ log( exp(sim(vᵢ, tᵢ)/τ) / Σⱼ exp(sim(vᵢ, tⱼ)/τ) )
        + Σᵢ log( exp(sim(tᵢ, vᵢ)/τ) / Σⱼ exp(sim(tᵢ, vⱼ)/τ) ))`.

        Args:
            vectors: by channel, [B, dim].
            present: by channel, bool [B].
        """
        losses = {}
        for first, second in self.channels.alignments:
            both, name = present[first] & present[second], alignment_name(first, second)
            a, b = vectors[first][both], vectors[second][both]
            # Not in validation: the warm-up of the weights would make the losses of the epochs incomparable.
            weighted = self.channels.training and name in self.caption_weights
            weight = self.caption_weights[name](a, b) if weighted else None
            losses[name] = two_way_info_nce(a, b, self.temperature(), weight)  # eq. 12, 13
        return losses

    def held_out(self, vectors: dict[str, Tensor], present: dict[str, Tensor]) -> dict[str, HeldOut]:
        """Return the terms of `losses` beside chance, `2 log n` for n regions with both modalities."""
        held_out = {}
        for (first, second), (name, loss) in zip(
            self.channels.alignments, self.losses(vectors, present).items(), strict=True
        ):
            n = (present[first] & present[second]).sum()
            if n > 1:
                held_out[name] = HeldOut(loss, 2 * n.log())
        return held_out

    def matched(self, vectors: dict[str, Tensor], present: dict[str, Tensor]) -> list[Matched]:
        """Return the vectors of each alignment, from each of its modalities that training changes to the other."""
        trained = {channel for channel in vectors if self.channels.trained(channel)}
        return [
            Matched(block, other, vectors[block], vectors[other], present[block] & present[other])
            for pair in self.channels.alignments
            for block, other in (pair, pair[::-1])
            if block in trained
        ]

    def node_features(self, vectors: dict[str, Tensor], present: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Return the node features `Xᵢ = [vᵢ^rs; lᵢ^rs; v̄ᵢ^sv; l̄ᵢ^sv]` (eq. 16), [B, width].

        `;` is the method's `fusion`, which is `add` by default as in sections 4.2.3 and 5.2. The second tensor, bool
        [B], says which regions have any of the modalities.
        """
        names = self.channels.features
        return join_vectors(self.fusion, names, vectors, present), any_present(names, present)  # eq. 16


class Temperature(nn.Module):
    """The temperature τ of an InfoNCE: a number, or learned from `INITIAL` on.

    As in CLIP (Radford et al. 2021, section 2.4) the logarithm of 1 / τ is learned, and τ is at least 0.01.
    """

    INITIAL = 0.07
    SMALLEST = 0.01

    def __init__(self, value: float | Literal["learned"]) -> None:
        super().__init__()
        self.value = value
        if value == "learned":
            self.log_inverse = nn.Parameter(torch.tensor(-math.log(self.INITIAL)))

    def forward(self) -> float | Tensor:
        """Return τ."""
        if self.value == "learned":
            with torch.no_grad():  # beyond the bound the gradient would be 0, and τ would stay there for good
                self.log_inverse.clamp_(max=-math.log(self.SMALLEST))
            return torch.exp(-self.log_inverse)
        return self.value


class Channels(nn.Module):
    """Encodes mini-batches of regions, modality by modality, into the shared space.

    A channel is a modality's own observations (`svi`) or those of a modality that describes another's: `text/svi` are
    the captions of the street views, `location/svi` the points where they were taken. A group of modalities is a
    channel too, whose vectors join those of its modalities.

    Where the backbone of an encoder is frozen, `keep` computes its outputs once; the attribute `cached` says whether
    that is so for all encoders.

    Args:
        inputs: the city and its modalities.
        dim: width of the shared space.
        alignments: pairs of modalities or groups; the attribute of this name has pairs of channels, none absent.
        features: modalities or channels that make the node features, None for the default.
        max_observations: observations of a region that a training step draws at most, None for all.
        groups: the groups of modalities by name.

    Raises:
        UserError: the city has none of the `features`.
    """

    def __init__(
        self,
        inputs: MethodInputs,
        dim: int,
        alignments: list[Pair],
        features: list[str] | None = None,
        max_observations: int | None = None,
        groups: Mapping[str, ModalityGroup] | None = None,
    ) -> None:
        super().__init__()
        groups = groups or {}
        self.max_observations, self.precision = max_observations, inputs.precision
        self.encoders: NamedModules[ModalityEncoder] = NamedModules(
            {name: inputs.encoder(name, dim) for name in inputs.modalities}
        )
        members = group_members(groups, set(self.encoders))
        available = {*self.encoders, *members}
        pairs = [
            (first, self._described(second, first)) for first, second in alignments if {first, second} <= available
        ]
        aligned_groups = {name: names for name, names in members.items() if any(name in pair for pair in pairs)}
        self.groups = ModalityGroups(groups, aligned_groups, dim)
        self.features = self._default_features() if features is None else self._available(features)
        if not self.features:
            names = ", ".join(features or []) or "none"
            message = f"the city has none of the modalities that make the node features ({names}); name one that it has"
            raise UserError(Problem(message, key="method.features"))
        aligned = [name for pair in pairs for channel in pair for name in self._members(channel)]
        self.pools = {channel: self._pool(channel) for channel in dict.fromkeys([*self.features, *aligned])}
        self.alignments = [pair for pair in pairs if all(self._any(channel) for channel in pair)]
        self.cached = False

    def forward(self, regions: Tensor) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Return the region vectors `v̄ᵢ = 1/k Σⱼ vᵢⱼ` over a region's k observations (eq. 15), by channel.

        Args:
            regions: region indices, int64 [B].

        Returns:
            The vectors, float32 [B, dim], and which regions have any observation, bool [B]; both by channel.
        """
        vectors, present = {}, {}
        limit = self.max_observations if self.training else None
        for channel, pool in self.pools.items():
            encoder = self._encoder(channel)
            with autocast(regions.device, self.precision):
                pooled, present[channel] = pool.encode(regions, max_observations=limit, augment=self.training)  # eq. 15
                vectors[channel] = encoder.project(pooled).float()
        joined, any_present = self.groups(vectors, present)
        return vectors | joined, present | any_present

    def prefetch(self, regions: Tensor) -> None:
        """Start reading the observations of the next training batch in the background."""
        for pool in self.pools.values():
            pool.prefetch(regions, max_observations=self.max_observations, augment=True)

    def keep(self) -> None:
        """Compute the outputs of all encoders whose backbone is frozen; from then on only projections are computed."""
        for channel, pool in self.pools.items():
            if self._encoder(channel).frozen:
                pool.keep(precision=self.precision)
        self.cached = all(encoder.frozen for encoder in self.encoders.values())

    def parts(self) -> dict[str, list[nn.Parameter]]:
        """The trainable parameters of the encoders' backbones and of their projections."""
        parts = [encoder.parts() for encoder in self.encoders.values()]
        return {
            "encoders": [p for part in parts for p in part["backbone"]],
            "projections": [p for part in parts for p in part["projection"]],
        }

    def trained(self, channel: str) -> bool:
        """Whether training changes any weight of the channel: of encoders, projections, and the fusion of a group."""
        modules: list[nn.Module] = [self._encoder(name) for name in self._members(channel)]
        if channel in self.groups.members:
            modules.append(self.groups.fusions[channel])
        return any(parameter.requires_grad for module in modules for parameter in module.parameters())

    def _any(self, channel: str) -> bool:
        """Whether any region has the channel."""
        return any(bool(self.pools[name].present.any()) for name in self._members(channel))

    def _members(self, channel: str) -> list[str]:
        """The channels that a group joins; of any other channel itself."""
        return self.groups.members.get(channel, [channel])

    def _encoder(self, channel: str) -> ModalityEncoder:
        return self.encoders[modality_of(channel)]

    def _described(self, modality: str, anchor: str) -> str:
        """The channel of `modality` that belongs to `anchor`'s observations, or the modality's or group's own."""
        describes = modality in self.encoders and self.encoders[modality].describes(anchor)
        return f"{modality}/{anchor}" if describes else modality

    def _default_features(self) -> list[str]:
        by = {name: encoder.describes_by for name, encoder in self.encoders.items()}
        names = [name for name in by if by[name] != "text"] or list(by)
        locations = [name for name in by if by[name] == "location"]
        points = [self._described(location, name) for name in names for location in locations]
        return list(dict.fromkeys([*names, *points]))

    def _available(self, features: list[str]) -> list[str]:
        return [channel for channel in features if all(name in self.encoders for name in channel.split("/"))]

    def _pool(self, channel: str) -> RegionEncoder:
        _, _, anchor = channel.partition("/")
        return RegionEncoder(self._encoder(channel), anchor or None)


def modality_alignments(inputs: MethodInputs, pairs: list[Pair] | None) -> list[Pair]:
    """The pairs of modalities to align; by default the pairs of eq. 14 of the modalities that `inputs` have."""
    modalities = inputs.modalities
    if pairs is not None:
        return pairs
    describing = [*inputs.describing("text"), *inputs.describing("location")]
    observed = [name for name in modalities if name not in describing]
    return [(name, other) for name in observed for other in describing]


def caption_weights(channels: Channels, use: Use) -> NamedModules[PairWeight]:
    """A pair weight for each alignment with text, by the name of the alignment; beyond the paper."""
    return NamedModules(
        {
            alignment_name(*pair): registry.create("pair_weight", use)
            for pair in channels.alignments
            if any(
                channels.encoders[modality_of(channel)].describes_by == "text"
                for channel in pair
                if channel not in channels.groups.members
            )
        }
    )


def alignment_name(first: str, second: str) -> str:
    """The name of the loss of two channels, `svi–text/svi`."""
    return f"{first}–{second}"


def modality_of(channel: str) -> str:
    """The modality whose observations a channel has: `text` of `text/svi`."""
    return channel.split("/")[0]
