"""What a method is: a pre-training procedure that yields region embeddings."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from urbankit import registry
from urbankit.city.city import City
from urbankit.graph.graph import Graph
from urbankit.graph.subgraph import Subgraphs
from urbankit.modalities.base import ModalityEncoder
from urbankit.registry.component import Component, P, Use
from urbankit.views.base import ViewGraph


@dataclass(frozen=True)
class MethodInputs:
    """What a method builds itself from: the city, the recipe's modalities and the views built of the city.

    `modalities` and `views` hold only what the city can serve; what a recipe names and the city lacks is left out
    before (and reported). `engine` runs the graph layers; `precision` is what encoders compute in under autocast, None
    for that of their weights.
    """

    city: City
    modalities: dict[str, Use] = field(default_factory=dict)
    views: dict[str, ViewGraph] = field(default_factory=dict)
    engine: str = "auto"
    precision: torch.dtype | None = None

    @property
    def n_regions(self) -> int:
        return self.city.n_regions

    def encoder(self, modality: str, dim: int) -> ModalityEncoder:
        """The encoder of a modality, projecting to the shared space of width `dim`."""
        return registry.create("modality_encoder", self.modalities[modality], self.city, modality, dim)

    def describing(self, by: str) -> list[str]:
        """The modalities that describe others' observations by `text` or `location`, as their encoders say."""
        return [
            name
            for name, use in self.modalities.items()
            if registry.get("modality_encoder", use.name).describes_by == by
        ]

    def graph(self, view: str) -> Graph:
        """A view's adjacency as a graph of torch tensors."""
        return Graph.from_scipy(self.views[view].adjacency)


class Method(Component[P], nn.Module, ABC):
    """A pre-training procedure. `dim` is the width of the region embedding.

    `blocks` are the widths of the parts that the embedding consists of, side by side; empty where it is one whole.
    `block_names` say what each of them is.

    A method is a module over region indices: it loads the observations of the regions it is asked for. Its random
    choices (walks, observations, augmentation) come from torch's global generator, which the training loop seeds anew
    for every epoch, so that a resumed training continues exactly.
    """

    dim: int
    blocks: Sequence[int] = ()
    block_names: Sequence[str] = ()
    pretrains: ClassVar[bool] = True
    """False for a method without pre-training, whose `loss` says so as a `UserError`."""
    inductive: ClassVar[bool] = False
    """Whether the weights can embed the regions of a city that they were not trained on (`transfer.graph: keep`)."""
    region_state: ClassVar[tuple[str, ...]] = ()
    """Buffers that hold something of each region; `prepare` fills them, and another city does not take them over."""

    def __init__(self, params: P, inputs: MethodInputs) -> None:
        nn.Module.__init__(self)
        self.params, self.inputs = params, inputs

    @abstractmethod
    def loss(self, regions: Tensor) -> dict[str, Tensor]:
        """Losses of a mini-batch of region indices (int64 [B]): `total`, which is minimised, and its parts."""

    @abstractmethod
    def forward(self, regions: Tensor) -> Tensor:
        """Embeddings [B, dim] of region indices int64 [B]."""

    @abstractmethod
    def parts(self) -> dict[str, list[nn.Parameter]]:
        """Every trainable parameter once, by the part it belongs to: the names of learning rates and updates."""

    def prepare(self) -> None:
        """Called before pre-training, and after it with the kept state: fill buffers, keep what will not change."""

    def sample_subgraphs(self, regions: Tensor) -> dict[str, Subgraphs]:
        """For figures alone: what the method draws around `regions` (int64 [B]) in each view; none by default."""
        return {}

    def prefetch(self, regions: Tensor) -> None:
        """Called in training with the next mini-batch while the present one computes: start reading it."""

    def freeze(self, updated: set[str]) -> None:
        """Called before fine-tuning: only the parts in `updated` change from here on.

        A method may keep the outputs of parts that stay as they are. The default stops their gradients.
        """
        for part, parameters in self.parts().items():
            for parameter in parameters if part not in updated else ():
                parameter.requires_grad_(False)

    @classmethod
    def check(cls, params: Any, modalities: set[str], views: set[str]) -> list[tuple[str, str]]:
        """Mistakes that only the whole recipe shows, as (key below `method`, message); none by default."""
        return []


def named_blocks(parts: Iterable[str], blocks: Sequence[int], whole: str) -> list[str]:
    """Names of the `blocks` of a fusion of `parts`: theirs where it keeps them apart, else that of the `whole`."""
    names = list(parts)
    if len(names) == len(blocks):
        return names
    return [whole] if len(blocks) == 1 else [f"{whole} {index}" for index in range(len(blocks))]
