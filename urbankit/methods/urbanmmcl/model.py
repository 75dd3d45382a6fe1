"""UrbanMMCL (Cao et al.), section 3.5: both contrasts in one pre-training, and the region embedding Z*."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from urbankit import registry
from urbankit.graph.base import Encoded, HeldOut
from urbankit.graph.graph import Graph
from urbankit.graph.subgraph import Subgraphs
from urbankit.methods.base import Matched, Method, MethodInputs, named_blocks
from urbankit.methods.urbanmmcl.extensions import block_statistics, draw_mask, masked_losses, pretext_heads
from urbankit.methods.urbanmmcl.multimodal import (
    Channels,
    MultimodalContrast,
    Temperature,
    caption_weights,
    modality_alignments,
)
from urbankit.methods.urbanmmcl.multiview import MultiviewContrast, view_encoders, view_graphs
from urbankit.methods.urbanmmcl.params import Params, recipe_mistakes
from urbankit.methods.urbanmmcl.relations import view_relations
from urbankit.methods.urbanmmcl.sampled_views import SampledViews
from urbankit.methods.urbanmmcl.view_groups import ViewGroups


@dataclass
class _Shared:
    """What mini-batches share while no weight changes: node features [N, width], and the encoded views."""

    features: Tensor | None = None
    views: dict[str, tuple[Encoded, Graph]] = field(default_factory=dict)


class UrbanMMCL(Method[Params]):
    """Aligns image, text and location by contrast, and contrasts walk subgraphs of several region graphs."""

    inductive = True
    region_state = ("bank",)

    bank: Tensor
    """Node features [N, width] as last encoded, for the regions outside a mini-batch."""
    shift: Tensor
    scale: Tensor

    def __init__(self, params: Params, inputs: MethodInputs) -> None:
        super().__init__(params, inputs)
        # Attribute names are parameter names in checkpoints. The order of the modules is that of random initialisation
        # and, by assignment, that of `parameters()`.
        p = params
        alignments = modality_alignments(inputs, p.alignments)
        self.channels = Channels(inputs, p.dim, alignments, p.features, p.max_observations, p.modality_groups)
        self.caption_weights = caption_weights(self.channels, p.caption_weights)
        self.fusion = registry.create("fusion", p.fusion, [p.dim] * len(self.channels.features), p.dim)
        width = self.fusion.out_dim
        graphs = view_graphs(inputs, p.view_scale)
        self.graph_encoders, self.subgraph_encoders = view_encoders(p, inputs, graphs, width)
        self.subgraph = registry.create("subgraph", p.subgraph)
        readouts = len(p.readout.split("+"))
        view_dims = {view: readouts * encoder.out_dim for view, encoder in self.subgraph_encoders.items()}
        groups = ViewGroups(p.view_groups, view_dims, p.dim)
        dims = list(groups.dims.values())
        view_fusion = registry.create("fusion", p.view_fusion, dims, p.dim) if dims else None
        self.projection_heads, self.decoders = pretext_heads(
            groups.dims, p.projection_head, p.masked_features > 0, width
        )
        self.groups, self.view_fusion = groups, view_fusion
        joined = [width, self.view_fusion.out_dim] if self.view_fusion else [width]
        self.join = registry.create("fusion", p.join, joined, p.dim)
        self.temperature = Temperature(p.alignment_temperature or p.temperature)
        self.multimodal = MultimodalContrast(self.channels, self.caption_weights, self.fusion, self.temperature)
        self.multiview = MultiviewContrast(
            graphs,
            {view: torch.as_tensor(graph.present) for view, graph in inputs.views.items()},
            self.graph_encoders,
            self.subgraph,
            self.subgraph_encoders,
            p.readout,
            self.groups,
            self.projection_heads,
            p.view_contrasts,
            p.temperature,
            p.detach_reconstruction,
        )
        # In training only; None encodes the whole graphs in every step.
        self.sampled = SampledViews(self.multiview) if inputs.n_regions > max(p.whole_graph_up_to, 1) else None
        self._shared: _Shared | None = None
        self.relations = view_relations(p, inputs, self.groups.members)
        self.dim = self.join.out_dim
        self._name_blocks()
        self.register_buffer("shift", torch.zeros(self.dim))
        self.register_buffer("scale", torch.ones(self.dim))
        self.register_buffer("bank", torch.zeros(inputs.n_regions, width))

    def loss(self, regions: Tensor) -> dict[str, Tensor]:
        """Return the losses of a mini-batch (int64 [B]): `L_total = α L_mmcl + β L_mvgcl` (eq. 27) and its terms."""
        return self._training_step(regions)[0]

    def loss_and_embedding(self, regions: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        """As in the base; the views of the embedding do not see the features that `masked_features` hides."""
        losses, features, has_any, embeddings = self._training_step(regions)
        z = self._join(regions, features, has_any, list(embeddings.values()))
        return losses, (z - self.shift) / self.scale

    def _training_step(self, regions: Tensor) -> tuple[dict[str, Tensor], Tensor, Tensor, dict[str, Tensor]]:
        """The losses, the node features [B, width], which regions have any, and the embeddings by joined view."""
        params = self.params
        vectors, present = self.channels(regions)
        alignments = self.multimodal.losses(vectors, present)
        features, has_any = self.multimodal.node_features(vectors, present)
        embeddings, views, mask, zero = self._views(regions, features)
        masked = masked_losses(self.decoders, embeddings, features, mask)
        relations = {
            name: params.relation * value for name, value in self.relations.losses(embeddings, regions, ~mask).items()
        }
        masked = {name: params.masked_features * value for name, value in masked.items()}

        multimodal = sum(alignments.values(), zero)  # eq. 14
        multiview = sum(views.values(), zero)  # eq. 26
        multiview = sum([*masked.values(), *relations.values()], multiview)  # beyond the paper: none by default
        total = params.alpha * multimodal + params.beta * multiview  # eq. 27
        sums = {"total": total, "multimodal": multimodal, "graph": multiview}
        return {**sums, **alignments, **views, **masked, **relations}, features, has_any, embeddings

    def _views(self, regions: Tensor, features: Tensor) -> tuple[dict[str, Tensor], dict[str, Tensor], Tensor, Tensor]:
        """The embeddings by joined view, the losses of the views, which regions are masked, and a zero with gradient.

        `features` are the node features [B, width] of the mini-batch `regions`.
        """
        hides = self.params.masked_features and self.training
        if self.sampled is not None:
            draw = partial(draw_mask, share=self.params.mask_share, device=features.device) if hides else None
            embeddings, losses, mask = self.sampled.step(self.bank, regions, features, draw)
            losses = losses | self.multiview.contrast_losses(embeddings, regions)
            return embeddings, losses, mask, features.sum() * 0.0
        x = self._all_features(regions, features)
        mask = torch.zeros(len(x), dtype=torch.bool, device=x.device)
        if hides:
            mask = draw_mask(len(x), self.params.mask_share, x.device)
        embeddings, encodings = self.multiview.embeddings(x.masked_fill(mask.unsqueeze(1), 0.0), regions, x)
        return embeddings, self.multiview.losses(embeddings, encodings, regions), mask[regions], x.sum() * 0.0

    def held_out(self, regions: Tensor) -> dict[str, HeldOut]:
        """Return the terms of the loss on held-out regions (int64 [B]), beside chance or a constant.

        Reconstruction and relation are over the pairs of two of `regions`, which no training step uses.
        """
        vectors, present = self.channels(regions)
        x, encoded = self._encoded(regions, self.multimodal.node_features(vectors, present)[0])
        embeddings, encodings = self.multiview.embeddings(x, regions, encoded=encoded)
        return {
            **self.multimodal.held_out(vectors, present),
            **self.multiview.held_out(embeddings, encodings, regions),
            **self.relations.held_out(embeddings, regions),
        }

    def matched(self, regions: Tensor) -> list[Matched]:
        vectors, present = self.channels(regions)
        embeddings = self.multiview.embeddings(self.bank, regions)[0]
        return [*self.multimodal.matched(vectors, present), *self.multiview.matched(embeddings, regions)]

    def view_blocks(self) -> dict[str, str]:
        blocks = {view: name for name, views in self.groups.members.items() for view in views}
        return {view: name for view, name in blocks.items() if name in self.block_names}

    def forward(self, regions: Tensor) -> Tensor:
        """Return Z* [B, dim] of `regions` (int64 [B]): node features joined with the fused embeddings of the views."""
        return (self._joined(regions) - self.shift) / self.scale

    def _joined(self, regions: Tensor) -> Tensor:
        """Z* [B, dim] before `block_scale`."""
        vectors, present = self.channels(regions)
        features, has_any = self.multimodal.node_features(vectors, present)
        if self.view_fusion is None:
            return self.join([features], [has_any])
        x, encoded = self._encoded(regions, features)
        samples = 1 if self.training else self.params.walks
        by_sample = [self.multiview.embeddings(x, regions, encoded=encoded)[0] for _ in range(samples)]
        embeddings = [torch.stack([sample[view] for sample in by_sample]).mean(dim=0) for view in by_sample[0]]
        return self._join(regions, features, has_any, embeddings)

    def _join(self, regions: Tensor, features: Tensor, has_any: Tensor, embeddings: list[Tensor]) -> Tensor:
        """Z* [B, dim] before `block_scale`, of node features and the embeddings of the joined views."""
        if self.view_fusion is None:
            return self.join([features], [has_any])
        has_view = list(self.multiview.joined_present(regions).values())
        views = self.view_fusion(embeddings, has_view)
        return self.join([features, views], [has_any, torch.stack(has_view).any(dim=0)])

    @torch.no_grad()
    def prepare(self) -> None:
        """Encode all regions, so that the first mini-batch has node features for the regions outside it."""
        self.channels.keep()
        training = self.training
        self.eval()
        self._fill_bank()
        if self.params.block_scale == "unit":
            # A seed of its own: measuring must not move the generator that training draws from.
            with torch.random.fork_rng(devices=[]), self.unchanged():
                torch.manual_seed(0)
                z = torch.cat([self._joined(regions) for regions in self._all_regions()])
            shift, scale = block_statistics(z, self.blocks)
            self.shift.copy_(shift)
            self.scale.copy_(scale)
        self.train(training)

    @torch.no_grad()
    def refresh(self) -> None:
        if self.sampled is None:
            return
        if self.channels.cached:
            training = self.training
            self.eval()
            self._fill_bank()
            self.train(training)
        self.sampled.refresh(self.bank)

    @contextmanager
    def unchanged(self) -> Iterator[None]:
        """As in the base: the node features of all regions and the views are encoded at the first mini-batch."""
        self._shared = _Shared()
        try:
            yield
        finally:
            self._shared = None

    def sample_subgraphs(self, regions: Tensor) -> dict[str, Subgraphs]:
        return {view: self.multiview.sample(view, self.bank, regions) for view in self.multiview.graphs}

    def prefetch(self, regions: Tensor) -> None:
        self.channels.prefetch(regions)

    def freeze(self, updated: set[str]) -> None:
        super().freeze(updated)
        self.channels.keep()

    def parts(self) -> dict[str, list[nn.Parameter]]:
        modules = (self.channels.groups, self.fusion, self.groups, self.view_fusion, self.join)
        fusions = [module for module in modules if module is not None]
        return {
            **self.channels.parts(),
            "pretext": [
                *self.projection_heads.parameters(),
                *self.decoders.parameters(),
                *self.relations.parameters(),
                *self.temperature.parameters(),
            ],
            "fusion": [parameter for module in fusions for parameter in module.parameters()],
            "graph_encoder": list(self.graph_encoders.parameters()),
            "subgraph_encoder": list(self.subgraph_encoders.parameters()),
        }

    @classmethod
    def check(cls, params: Params, modalities: set[str], views: set[str]) -> list[tuple[str, str]]:
        return recipe_mistakes(params, modalities, views)

    def _apply(self, *args: Any, **kwargs: Any) -> UrbanMMCL:
        """As in torch, and move the graphs to the device of the weights."""
        super()._apply(*args, **kwargs)
        self.multiview.to(self.bank.device)
        self.relations.move(self.bank.device)
        return self

    def _name_blocks(self) -> None:
        """Set `blocks` and `block_names`: the parts of Z*, a modality's vector or a view's, that fusions keep apart."""
        modalities, view_dims = self.channels.features, self.groups.dims
        feature_blocks = self.fusion.blocks([[self.params.dim]] * len(modalities))
        view_blocks = self.view_fusion.blocks([[dim] for dim in view_dims.values()]) if self.view_fusion else []
        self.blocks = self.join.blocks([feature_blocks, view_blocks] if self.view_fusion else [feature_blocks])
        names = named_blocks(modalities, feature_blocks, "modalities") + named_blocks(view_dims, view_blocks, "views")
        self.block_names = named_blocks(names, self.blocks, "embedding")

    def _all_regions(self) -> Sequence[Tensor]:
        """All region indices, in batches that fit into memory."""
        return torch.arange(self.inputs.n_regions, device=self.bank.device).split(512)

    def _fill_bank(self) -> None:
        for regions in self._all_regions():
            self.bank[regions] = self.multimodal.node_features(*self.channels(regions))[0]

    def _encoded(self, regions: Tensor, features: Tensor) -> tuple[Tensor, dict[str, tuple[Encoded, Graph]] | None]:
        """As `_all_features`, and in the context `unchanged` the encoded views for these features."""
        shared = self._shared
        if shared is None or torch.is_grad_enabled() or self.training:
            return self._all_features(regions, features), None
        if shared.features is None:
            shared.features = self._all_features(regions, features).clone()
            shared.views = {view: self.multiview.encode(view, shared.features) for view in self.multiview.graphs}
        return shared.features, shared.views

    def _all_features(self, regions: Tensor, features: Tensor) -> Tensor:
        """Node features [N, width] of all regions, with the `features` [B, width] of the mini-batch `regions`.

        Those of the other regions are computed too if encoder outputs are cached, since they then cost one projection;
        otherwise they are as last encoded.
        """
        if self.channels.cached:
            all_regions = torch.arange(len(self.bank), device=features.device)
            if torch.equal(regions, all_regions):
                return features
            return self.multimodal.node_features(*self.channels(all_regions))[0]
        self.bank[regions] = features.detach().to(self.bank.dtype)
        return self.bank.index_copy(0, regions, features.to(self.bank.dtype))
