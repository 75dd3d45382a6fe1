"""The baselines, registered by the hooks that any plugin uses."""

from __future__ import annotations

from urbankit import hookimpl
from urbankit.registry.hookspecs import Register


@hookimpl
def register_methods(register: Register) -> None:
    register("vit", "urbankit_baselines.vit:ViTFeatures", "concatenated image features, no pre-training")
    register("pg-simclr", "urbankit_baselines.pg_simclr:PGSimCLR", "SimCLR with neighbours in space and function")
    register(
        "urbanvlp", "urbankit_baselines.urbanvlp:UrbanVLP", "satellite tiles and street views aligned with captions"
    )
    register("mvure", "urbankit_baselines.mvure:MVURE", "multi-view graph attention, sharing and fusion")
    register("hrep", "urbankit_baselines.hrep:HREP", "heterogeneous region graph and prompts")
    register("remvc", "urbankit_baselines.remvc:ReMVC", "contrast within and between flows and points of interest")


@hookimpl
def register_views(register: Register) -> None:
    register("flows", "urbankit_baselines.views.flows:Flows", "flow counts between regions")
    register(
        "flow_similarity",
        "urbankit_baselines.views.flow_similarity:FlowSimilarity",
        "cosine similarity of the destinations or origins of flows",
    )
    register("neighbours", "urbankit_baselines.views.neighbours:Neighbours", "adjacent regions")


@hookimpl
def register_heads(register: Register) -> None:
    register("hrep_prompt", "urbankit_baselines.hrep_prompt:HREPPrompt", "a learned prefix before the embedding")
