"""Transfer of the encoders of baselines to another city."""

from __future__ import annotations

import numpy as np
import pytest

from urbankit import City
from urbankit.datasets.synthetic import write_demo
from urbankit.pipeline.run import run
from urbankit.recipe.recipe import Recipe
from urbankit.utils.errors import UserError
from urbankit.utils.progress import Progress


@pytest.fixture(scope="module")
def other_city(tmp_path_factory) -> City:
    folder = tmp_path_factory.mktemp("other")
    return City.prepare(write_demo(folder, regions=49, seed=2), out=folder / "prepared")


def run_recipe(out, city: City, method: str, transfer: dict | None = None):
    vit = {"name": "vit", "patch_size": 16, "hidden_size": 16, "layers": 1, "heads": 2}
    keys = {
        "name": method,
        "city": {"prepared": str(city.path)},
        "modalities": {"rsi": vit} if method == "pg-simclr" else {},
        "views": {name: {"name": name} for name in ("poi", "distance")} if method == "pg-simclr" else {},
        "method": {"name": method},
        "tasks": {"co": {"head": {"name": "forest"}}},
        "pretrain": {"epochs": 1},
        "finetune": {"update": []},
        "evaluation": {"seeds": [0], "splits": ["random"], "floors": ["mean"]},
        "report": {"figures": False},
    }
    return run(Recipe.load(keys | ({"transfer": transfer} if transfer else {})), out, progress=Progress(quiet=True))


@pytest.mark.parametrize("graph", ["new", "keep"])
def test_pg_simclr_is_transferred(graph, tiny_city, other_city, tmp_path):
    run_recipe(tmp_path / "source", tiny_city, "pg-simclr")
    transfer = {"from": str(tmp_path / "source"), "graph": graph}
    scores = run_recipe(tmp_path / "run", other_city, "pg-simclr", transfer).metrics.query("metric == 'mae'")
    assert np.isfinite(scores["value"]).all() and ("all" in set(scores["split"])) == (graph == "keep")


@pytest.mark.parametrize(
    ("graph", "message"),
    [("new", "no encoder of the source run"), ("keep", "belong to the regions that it was trained on")],
)
def test_transfer_refuses_a_method_without_modality_encoders(graph, message, tiny_city, other_city, tmp_path):
    run_recipe(tmp_path / "source", tiny_city, "remvc")
    with pytest.raises(UserError, match=message):
        run_recipe(tmp_path / "run", other_city, "remvc", {"from": str(tmp_path / "source"), "graph": graph})
