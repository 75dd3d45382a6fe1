"""The baselines, registered by the hooks that any plugin uses."""

from __future__ import annotations

from urbankit import hookimpl
from urbankit.registry.hookspecs import Register


@hookimpl
def register_methods(register: Register) -> None:
    register("vit", "urbankit_baselines.vit:ViTFeatures", "image features side by side, no pre-training")
    register("pg-simclr", "urbankit_baselines.pg_simclr:PGSimCLR", "SimCLR with neighbours in space and function")
    register("urbanvlp", "urbankit_baselines.urbanvlp:UrbanVLP", "images of two granularities against captions")
    register("mvure", "urbankit_baselines.mvure:MVURE", "multi-view graph attention, sharing and fusion")
    register("hrep", "urbankit_baselines.hrep:HREP", "heterogeneous region graph and prompts")
    register("remvc", "urbankit_baselines.remvc:ReMVC", "contrast within and between flows and points of interest")


@hookimpl
def register_views(register: Register) -> None:
    register("flows", "urbankit_baselines.views.flows:Flows", "flows between regions, as counted")
    register(
        "flow_similarity",
        "urbankit_baselines.views.flow_similarity:FlowSimilarity",
        "cosine similarity of where flows go to, or come from",
    )
    register("neighbours", "urbankit_baselines.views.neighbours:Neighbours", "regions that border on each other")


@hookimpl
def register_heads(register: Register) -> None:
    register("hrep_prompt", "urbankit_baselines.hrep_prompt:HREPPrompt", "a learned prefix before the embedding")
