"""The parameters of UrbanMMCL, and the mistakes in them that only the whole recipe shows."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from urbankit.graph.subgraph import Readout
from urbankit.methods.urbanmmcl.modality_groups import ModalityGroup, modality_group_mistakes
from urbankit.methods.urbanmmcl.view_groups import ViewGroup, group_mistakes, joined_names
from urbankit.registry import component
from urbankit.registry.component import Name, Use, uses
from urbankit.utils.errors import suggest

Pair = tuple[str, str]


class Params(component.Params):
    """The parameters of UrbanMMCL, with the section or equation of the paper that each comes from."""

    dim: int = Field(
        64,
        ge=2,
        description="Width of the space that all modalities share.",
        json_schema_extra={"source": "512 in 4.2.3"},
    )
    alignments: list[Pair] | None = Field(
        None,
        description="Pairs of modalities, or groups of modalities, to align. Default: every modality that is not text "
        "or location, with text and with location, as far as the recipe has them.",
        json_schema_extra={"source": "eq. 14"},
    )
    modality_groups: dict[Name, ModalityGroup] = Field(
        default_factory=dict,
        description="Modalities that are joined into one to be aligned with others: {activity: {modalities: [words, "
        "poi_counts]}}. What several modalities say together is a better target for an image than each of them alone.",
        json_schema_extra={"source": "not in the paper"},
    )
    features: list[str] | None = Field(
        None,
        description="Modalities whose vectors make the node features; `location/svi` is the location of the "
        "street views. Default: every modality but text, and the locations of those with points of their own.",
        json_schema_extra={"source": "eq. 16"},
    )
    caption_weights: Use = uses(
        "pair_weight",
        "uniform",
        "The weight of each region's pair in an alignment of a modality with `text`. Not in the paper, where all "
        "pairs have the same weight.",
    )
    fusion: Use = uses("fusion", "add", "How a region's vectors become its node feature (eq. 16, section 5.2).")
    temperature: float = Field(
        0.5, gt=0, description="Temperature of both contrastive losses.", json_schema_extra={"source": "4.2.3"}
    )
    alignment_temperature: Annotated[float, Field(gt=0)] | Literal["learned"] | None = Field(
        None,
        description="Temperature of the alignments of modalities, where it is another; `learned` learns it, from 0.07.",
        json_schema_extra={"source": "learned as in CLIP"},
    )
    graph_encoder: Use = uses(
        "graph_encoder", "vgae", "What encodes each view and learns its edge weights (eq. 17–21)."
    )
    subgraph: Use = uses("subgraph", "random_walk", "How the subgraph around a region is sampled (eq. 22).")
    subgraph_encoder: Use = uses("graph_encoder", "gcn", "What encodes the sampled subgraphs (eq. 23).")
    readout: Readout = Field(
        "mean",
        description="How a subgraph's node vectors become one: their mean, the region's own, or both side by side.",
        json_schema_extra={"source": "eq. 24"},
    )
    view_groups: dict[Name, ViewGroup] = Field(
        default_factory=dict,
        description="Views that are joined into one before views are contrasted, such as the hours of mobility: "
        "{mobility: {views: [morning, evening], fusion: {name: attention}}}. Each has its own graph encoder and "
        "reconstruction; contrasts, decoders and Z* use the group.",
        json_schema_extra={"source": "not in the paper; after its section 5.4"},
    )
    view_contrasts: list[Pair] | None = Field(
        None,
        description="Pairs of views, or groups of views, to contrast. Default: all of them.",
        json_schema_extra={"source": "eq. 25, 26"},
    )
    view_scale: Literal["unit", "literal"] = Field(
        "unit",
        description="`unit` divides the weights of a view by their 99th percentile and clips them at 1, so that no "
        "view dominates the summed reconstruction (1/d in kilometres is tens of times larger than a row-normalised "
        "flow); `literal` uses them unchanged.",
    )
    detach_reconstruction: bool = Field(
        False,
        description="Whether the graph encoders get the node features without gradient, so that the reconstruction "
        "does not train the encoders of the modalities. At the start its gradient on them can be fifty times that of "
        "the alignments.",
        json_schema_extra={"source": "false in eq. 27"},
    )
    relation: float = Field(
        0.0,
        ge=0,
        description="Weight of a further loss: the similarity of two regions in a view's embedding, as it is in Z*, "
        "must predict the rank of their weight in the view. 0 turns it off.",
        json_schema_extra={"source": "not in the paper"},
    )
    projection_head: int = Field(
        0,
        ge=0,
        description="Width of a two-layer perceptron between a view's embedding and its contrast, so that information "
        "of a single view can stay in the embedding (SimCLR); 0 contrasts the embeddings themselves.",
        json_schema_extra={"source": "0 in eq. 25"},
    )
    masked_features: float = Field(
        0.0,
        ge=0,
        description="Weight of a further loss: the node features of some regions are masked for the graph encoders, "
        "and each view's embedding must predict those of its region. 0 turns it off.",
        json_schema_extra={"source": "not in the paper; after GraphMAE"},
    )
    mask_share: float = Field(0.3, gt=0, lt=1, description="Share of regions whose features are masked.")
    view_fusion: Use = uses("fusion", "concat", "How the embeddings of the views are joined.")
    join: Use = uses("fusion", "concat", "How node feature and joined views make the region embedding Z*.")
    block_scale: Literal["learned", "unit"] = Field(
        "learned",
        description="`unit` centres every block of Z* (a modality's vector, a view's) and divides it by the root "
        "of its mean squared length over all regions, so that a probe with a fixed penalty treats all blocks alike; "
        "`learned` leaves them unchanged.",
        json_schema_extra={"source": "not in the paper; after multiple factor analysis"},
    )
    alpha: float = Field(
        0.5, ge=0, description="Weight of the multi-modal loss.", json_schema_extra={"source": "eq. 27"}
    )
    beta: float = Field(0.5, ge=0, description="Weight of the graph loss.", json_schema_extra={"source": "eq. 27"})
    max_observations: int | None = Field(
        4,
        ge=1,
        description="Maximum number of observations of one modality (street views) drawn for a region in a training "
        "step; null takes all. Embeddings always use all.",
    )
    whole_graph_up_to: int = Field(
        5000,
        ge=0,
        description="Number of regions up to which every training step encodes all regions of a view and compares the "
        "regions of the mini-batch with all. Of more regions, a step encodes those on its walks and on pairs that it "
        "draws, with losses of the same expectation; node features outside the mini-batch are as last encoded.",
        json_schema_extra={"source": "not in the paper"},
    )
    walks: int = Field(
        4, ge=1, description="Subgraphs per region that an embedding averages over; a training step draws one."
    )


def recipe_mistakes(params: Params, modalities: set[str], views: set[str]) -> list[tuple[str, str]]:
    """Modalities, views and groups that `params` name and a recipe with these does not have, as (key, message)."""
    mistakes = []
    aligned = [(f"alignments.{i}", name) for i, pair in enumerate(params.alignments or []) for name in pair]
    features = [
        (f"features.{i}", name) for i, channel in enumerate(params.features or []) for name in channel.split("/")
    ]
    for named, names in ((aligned, modalities | set(params.modality_groups)), (features, modalities)):
        for key, name in named:
            if name not in names:
                mistakes.append((key, f"the recipe has no modality '{name}'.{suggest(name, names)}"))
    mistakes += [
        (f"modality_groups.{key}", message)
        for key, message in modality_group_mistakes(params.modality_groups, modalities)
    ]
    for i, (first, second) in enumerate(params.alignments or []):
        for one, other in ((first, second), (second, first)):
            group = params.modality_groups.get(other)
            if group is not None and one in group.modalities:
                message = f"'{one}' is in the group '{other}'; align the group with a modality outside it"
                mistakes.append((f"alignments.{i}", message))
        if first == second:
            mistakes.append((f"alignments.{i}", f"'{first}' cannot be aligned with itself"))
    joined = joined_names(params.view_groups, views)
    for i, pair in enumerate(params.view_contrasts or []):
        for name in pair:
            if name in views - joined:
                mistakes.append((f"view_contrasts.{i}", f"'{name}' is in a group; contrast the group"))
            elif name not in joined:
                message = f"the recipe has no view '{name}'.{suggest(name, joined)}"
                mistakes.append((f"view_contrasts.{i}", message))
    mistakes += [(f"view_groups.{key}", message) for key, message in group_mistakes(params.view_groups, views)]
    return mistakes
