"""A recipe that runs in a second, and suites of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml


@pytest.fixture(scope="session")
def cheap_recipe(tiny_city) -> dict[str, Any]:
    """The keys of a recipe on the tiny city: one modality, one view, three splits, two floors."""
    return {
        "city": {"prepared": str(tiny_city.path)},
        "modalities": {"coordinates": {"name": "coordinates"}},
        "views": {"distance": {"name": "distance"}},
        "method": {
            "name": "urbanmmcl",
            "dim": 8,
            "alignments": [],
            "graph_encoder": {"name": "vgae", "latent": 8},
            "subgraph_encoder": {"name": "gcn", "hidden": [8], "out": 8},
        },
        "tasks": {"co": {}, "land_use": {}},
        "pretrain": {"epochs": 2, "batch_size": 32},
        "finetune": {"epochs": 3, "update": []},
        "evaluation": {"splits": ["random"], "seeds": [0, 1, 2], "min_class_size": 1, "floors": ["mean", "location"]},
        "report": {"figures": False},
    }


@pytest.fixture
def suite_file(tmp_path: Path, cheap_recipe: dict[str, Any]) -> Callable[..., Path]:
    """Writes a suite beside the recipe `cheap.yaml`, from text or keys."""

    def write(suite: str | dict[str, Any], name: str = "suite.yaml") -> Path:
        (tmp_path / "cheap.yaml").write_text(yaml.safe_dump(cheap_recipe))
        path = tmp_path / name
        path.write_text(suite if isinstance(suite, str) else yaml.safe_dump(suite, allow_unicode=True, sort_keys=False))
        return path

    return write
