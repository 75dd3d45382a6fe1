"""Every component of urbankit is held to the checks that the author of a plugin calls."""

from typing import Any

import pytest

from urbankit import registry, testing

# Sizes small enough for a test, and what a component reads where its name does not say so.
SMALL_VIT = {"patch_size": 8, "hidden_size": 16, "layers": 1, "heads": 2}
SMALL: dict[tuple[str, str], dict[str, Any]] = {
    ("modality_encoder", "vit"): SMALL_VIT | {"augment": "overhead"},
    ("modality_encoder", "convnet"): {"widths": [4, 8], "augment": "overhead"},
    ("modality_encoder", "text"): {"hidden_size": 16, "layers": 1, "heads": 2, "vocabulary": 300},
    ("modality_encoder", "geoclip"): {"features": 8, "hidden": 16, "layers": 1, "width": 16},
    ("modality_encoder", "flow_profile"): {"components": 4},
    ("modality_encoder", "words"): {"components": 4},
    ("dataset", "benchmark"): {"layout": "hrep", "folder": "sets"},
    ("dataset", "gtfs"): {"file": "feed.zip"},
    ("dataset", "osm"): {"file": "city.osm.pbf"},
    ("dataset", "overture"): {"file": "places.parquet"},
    ("head", "gp"): {"steps": 3},
    ("head", "forest"): {"trees": 5},
    ("method", "urbanmmcl"): {
        "dim": 16,
        "subgraph": {"name": "full"},
        "graph_encoder": {"name": "vgae", "latent": 8},
        "subgraph_encoder": {"name": "gcn", "hidden": [16], "out": 8},
        "projection_head": 8,
        "masked_features": 1.0,
    },
}
OTHERWISE: list[tuple[str, str, dict[str, Any]]] = [
    ("modality_encoder", "vit", SMALL_VIT | {"validity_band": True}),
    ("modality_encoder", "convnet", {"widths": [4, 8], "stride": 1, "validity_band": True}),
    ("modality_encoder", "table", {"hidden": 8}),
    ("view", "poi", {"counts": "tf_idf"}),
    ("view", "poi", {"top_k": 3}),
    ("view", "mobility", {"top_k": 3, "self_flows": False}),
    ("view", "distance", {"top_k": 3}),
    ("view", "temporal", {"hours": [20, 5]}),
    ("graph_encoder", "gcn", {"hidden": [], "normalise": "row"}),
    ("fusion", "add", {"rescale": False}),
    ("subgraph", "random_walk", {"length": 3}),
    (
        "method",
        "urbanmmcl",
        SMALL["method", "urbanmmcl"] | {"subgraph": {"name": "random_walk"}, "readout": "mean+root"},
    ),
]
# What reads a file or a checkpoint is held to them where its tests write one.
ELSEWHERE = {("modality_encoder", "precomputed"), ("captioner", "vlm"), ("tracker", "mlflow"), ("tracker", "wandb")}
OWN = [(entry.kind, entry.name) for entry in registry.entries() if entry.distribution == "urbankit"]
OWN = [component for component in OWN if component not in ELSEWHERE]


@pytest.mark.parametrize(("kind", "name"), OWN, ids=[f"{kind}-{name}" for kind, name in OWN])
def test_component_passes_the_checks_of_its_kind(kind: str, name: str) -> None:
    testing.check_component(kind, name, SMALL.get((kind, name)))


@pytest.mark.parametrize(("kind", "name", "params"), OTHERWISE, ids=[f"{o[0]}-{o[1]}" for o in OTHERWISE])
def test_component_passes_the_checks_with_other_parameters(kind: str, name: str, params: dict[str, Any]) -> None:
    testing.check_component(kind, name, params)
