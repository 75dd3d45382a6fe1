"""The base of methods, pre-training procedures that compute region embeddings."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from urbankit import registry
from urbankit.city.city import City
from urbankit.graph.base import HeldOut
from urbankit.graph.graph import Graph
from urbankit.graph.subgraph import Subgraphs
from urbankit.modalities.absent import AbsentEncoder
from urbankit.modalities.base import ModalityEncoder
from urbankit.registry.component import Component, P, Use
from urbankit.views.base import ViewGraph


@dataclass(frozen=True)
class MethodInputs:
    """The data that a method is built from.

    Attributes:
        city: the prepared city.
        modalities: the recipe's modality encoders by modality, without those for which the city lacks data.
        views: the views by name, without those for which the city lacks data.
        engine: what computes the graph layers.
        precision: the type that encoders compute in under autocast; None for the type of their weights.
        absent: modalities that are left out in this city, and the modalities that each of them describes.
    """

    city: City
    modalities: dict[str, Use] = field(default_factory=dict)
    views: dict[str, ViewGraph] = field(default_factory=dict)
    engine: str = "auto"
    precision: torch.dtype | None = None
    absent: Mapping[str, Collection[str]] = field(default_factory=dict)

    @property
    def n_regions(self) -> int:
        """The number of regions, N."""
        return self.city.n_regions

    def encoder(self, modality: str, dim: int) -> ModalityEncoder:
        """Return a new encoder of a modality, which projects to a shared space of width `dim`."""
        use = self.modalities[modality]
        if modality in self.absent:
            encoder = registry.get("modality_encoder", use.name)
            return AbsentEncoder(encoder, self.absent[modality], self.city, modality, dim)
        return registry.create("modality_encoder", use, self.city, modality, dim)

    def describing(self, by: str) -> list[str]:
        """The modalities that describe others' observations by `text` or `location`, as their encoders say."""
        return [
            name
            for name, use in self.modalities.items()
            if registry.get("modality_encoder", use.name).describes_by == by
        ]

    def graph(self, view: str) -> Graph:
        """Return the adjacency of a view as a graph of torch tensors."""
        return Graph.from_scipy(self.views[view].adjacency, self.city.sizes)


@dataclass(frozen=True)
class Matched:
    """Vectors of the same regions in two blocks, which training makes similar.

    Attributes:
        block: the modality or view whose `vectors` are judged; training changes it.
        other: the modality or view of `others`.
        vectors: float [B, d].
        others: float [B, d].
        present: which regions have both, bool [B].
    """

    block: str
    other: str
    vectors: Tensor
    others: Tensor
    present: Tensor


class Method(Component[P], nn.Module, ABC):
    """A pre-training procedure: a module that maps region indices to embeddings.

    A method loads the observations of the given regions itself. It draws random numbers (walks, observations,
    augmentation) from torch's global generator, which the training loop seeds for every epoch, so that a resumed
    training continues exactly.

    Args:
        params: the component's validated `Params`.
        inputs: the city, its modalities and views.

    Attributes:
        dim: width of the region embedding; set it in `__init__`.
        blocks: widths of the parts of the embedding, in order; empty for an embedding without parts.
        block_names: names of these parts.
    """

    dim: int
    blocks: Sequence[int] = ()
    block_names: Sequence[str] = ()
    pretrains: ClassVar[bool] = True
    """False for a method without pre-training, whose `loss` raises `UserError`."""
    inductive: ClassVar[bool] = False
    """Whether the weights can embed regions of a city that they were not trained on (`transfer.graph: keep`)."""
    region_state: ClassVar[tuple[str, ...]] = ()
    """Buffers with values of each region; `prepare` fills them, and they are not transferred to another city."""

    def __init__(self, params: P, inputs: MethodInputs) -> None:
        nn.Module.__init__(self)
        self.params, self.inputs = params, inputs

    @abstractmethod
    def loss(self, regions: Tensor) -> dict[str, Tensor]:
        """Return the losses of a mini-batch.

        Args:
            regions: region indices, int64 [B].

        Returns:
            Scalars by name: `total`, which is minimised, and the terms to report.
        """

    def loss_and_embedding(self, regions: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        """Return the losses and the embeddings [B, dim] of a mini-batch, for training that also sees labels.

        A method overrides it to compute what both need only once; features that the loss hides may then be hidden from
        the embedding, too.
        """
        return self.loss(regions), self(regions)

    @abstractmethod
    def forward(self, regions: Tensor) -> Tensor:
        """Return the embeddings [B, dim] of region indices int64 [B]."""

    @abstractmethod
    def parts(self) -> dict[str, list[nn.Parameter]]:
        """Return every trainable parameter once, by the part of the method to which recipes give learning rates."""

    def prepare(self) -> None:
        """Fill buffers and caches; called before pre-training, and after it with the best state."""

    def refresh(self) -> None:
        """Update stored values of all regions; called before each epoch of pre-training and before its validation."""

    @contextmanager
    def unchanged(self) -> Iterator[None]:
        """Return a context in which no weight changes and the method evaluates.

        A method may compute in it once what all mini-batches share.
        """
        yield

    def held_out(self, regions: Tensor) -> dict[str, HeldOut]:
        """Return losses on regions held out of training, beside those of a model that learned nothing; none by default.

        Args:
            regions: region indices, int64 [B].

        Returns:
            By name of the loss. The reference is chance for a contrast, and the best constant for a prediction.
        """
        return {}

    def matched(self, regions: Tensor) -> list[Matched]:
        """Return what training aligned, for `regions` (int64 [B]); none by default.

        It is called in evaluation mode, without gradients, before and after training. It must not change the method.
        """
        return []

    def view_blocks(self) -> dict[str, str]:
        """Return by view the block of the embedding that is of the view; by default the block of its name."""
        return {view: view for view in self.inputs.views if view in self.block_names}

    def sample_subgraphs(self, regions: Tensor) -> dict[str, Subgraphs]:
        """Return by view the subgraphs sampled around `regions` (int64 [B]), for figures; none by default."""
        return {}

    def prefetch(self, regions: Tensor) -> None:
        """Start reading the next mini-batch (int64 [B]); called in training while the present one is computed."""

    def freeze(self, updated: set[str]) -> None:
        """Freeze all parts except those in `updated`; called before fine-tuning.

        A method may cache what its frozen parts compute.
        """
        for part, parameters in self.parts().items():
            for parameter in parameters if part not in updated else ():
                parameter.requires_grad_(False)

    @classmethod
    def check(cls, params: Any, modalities: set[str], views: set[str]) -> list[tuple[str, str]]:
        """Return the mistakes that only the whole recipe shows; none by default.

        Args:
            params: the method's validated `Params`.
            modalities: names of the recipe's modalities.
            views: names of the recipe's views.

        Returns:
            (key below `method`, message) of each mistake.
        """
        return []


def named_blocks(parts: Iterable[str], blocks: Sequence[int], joint_name: str) -> list[str]:
    """Return names of the `blocks` of a fusion: those of the `parts` if these stay separate, else `joint_name`."""
    names = list(parts)
    if len(names) == len(blocks):
        return names
    return [joint_name] if len(blocks) == 1 else [f"{joint_name} {index}" for index in range(len(blocks))]
