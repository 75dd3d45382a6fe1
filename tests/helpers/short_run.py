"""A run of seconds on a prepared city."""

from pathlib import Path
from typing import Any

import urbankit

SMALL: dict[str, Any] = {
    "modalities": {"coordinates": {"name": "coordinates"}},
    "views": {"distance": {"name": "distance"}},
    "method": {
        "name": "urbanmmcl",
        "dim": 8,
        "alignments": [],
        "graph_encoder": {"name": "vgae", "latent": 8},
        "subgraph_encoder": {"name": "gcn", "hidden": [8], "out": 8},
    },
}
"""The keys of a recipe with one modality, one view and a small method."""


def short_run(city: urbankit.City, out: Path, **keys: Any) -> urbankit.Run:
    """Train one modality and one view for an epoch, unless `keys` of the recipe say otherwise."""
    recipe = {
        "name": "short",
        "city": {"prepared": str(city.path)},
        **SMALL,
        "tasks": {},
        "pretrain": {"epochs": 1},
        "finetune": {"epochs": 1, "update": []},
        "evaluation": {
            "splits": ["folds"],
            "folds": {"number": 3},
            "seeds": [0],
            "floors": ["mean", "raw-ridge"],
            "controls": [],
        },
        "predict": {"folds": 0},
        "report": {"figures": False},
    }
    return urbankit.run(recipe | keys, out=out)
