"""The relation loss, and what training on a small city learns that holds for held-out regions."""

import numpy as np
import pytest
import torch

from urbankit import Recipe, registry
from urbankit.analysis.view_order import view_order
from urbankit.methods.base import MethodInputs
from urbankit.methods.urbanmmcl.relations import VARIANCE
from urbankit.registry.component import Use
from urbankit.training.pretrain import pretrain
from urbankit.utils.progress import Progress

VIEWS = ("poi", "mobility", "distance")


def built(city, **params):
    torch.manual_seed(0)
    graphs = {name: registry.create("view", Use(name=name)).build(city) for name in VIEWS}
    modalities = {"location": Use(name="geoclip", features=8, hidden=16, layers=1, width=16)}
    method = registry.create("method", Use(name="urbanmmcl", dim=16, **params), MethodInputs(city, modalities, graphs))
    method.prepare()
    return method


def test_the_relation_loss_is_the_error_of_ranks_predicted_by_the_cosine(tiny_city):
    method = built(tiny_city, relation=1.0)
    regions = torch.arange(tiny_city.n_regions)
    s = torch.randn(len(regions), 8, generator=torch.Generator().manual_seed(1))
    loss = method.relations.losses({"distance": s, "poi": s, "mobility": s}, regions)["distance relation"].item()
    weights = method.inputs.views["distance"].adjacency.toarray()
    z = (s - s.mean(0)).numpy()
    z /= np.linalg.norm(z, axis=1, keepdims=True)
    pairs = ~np.eye(len(weights), dtype=bool)
    sorted_weights = np.sort(weights[pairs])
    low, high = (np.searchsorted(sorted_weights, weights[pairs], side=side) for side in ("left", "right"))
    rank = (low + high + 1) / 2 / len(sorted_weights)
    assert loss == pytest.approx(((rank - 0.5 * (z @ z.T)[pairs] - 0.5) ** 2).mean() / VARIANCE, rel=1e-4)


def test_a_constant_prediction_of_evenly_distributed_ranks_has_the_loss_1(tiny_city):
    method = built(tiny_city, relation=1.0).eval()
    regions = torch.arange(tiny_city.n_regions)
    with torch.no_grad():
        held_out = method.held_out(regions)
    assert held_out["distance relation"].reference.item() == pytest.approx(1, abs=0.1)
    assert set(held_out) == {
        *(f"{view} {name}" for view in VIEWS for name in ("reconstruction", "relation")),
        "poi–mobility", "poi–distance", "mobility–distance",
    }  # fmt: skip


def test_without_weight_there_is_no_relation_loss(tiny_city):
    method = built(tiny_city)
    assert not list(method.relations.parameters())
    assert not any("relation" in name for name in method.loss(torch.arange(4)))


def test_training_on_a_small_city_follows_the_views_and_beats_a_constant_on_held_out_pairs(tiny_city):
    torch.manual_seed(0)
    recipe = Recipe.load("urbanmmcl")
    settings = recipe.pretrain.model_copy(update={"epochs": 80, "patience": 80, "validation_share": 0.3})
    modalities = {name: recipe.modalities[name] for name in ("coordinates", "poi_counts", "flow_profile")}
    views = {name: registry.create("view", Use(name=name)).build(tiny_city) for name in VIEWS}
    use = Use(name="urbanmmcl", **(recipe.method.params | {"alignments": []}))
    method = registry.create("method", use, MethodInputs(tiny_city, modalities, views))
    training = pretrain(method, settings, tiny_city.n_regions, 0, None, Progress(quiet=True))
    for view in ("mobility", "distance"):  # 34 regions are too few for the counts of points of interest
        for name in ("reconstruction", "relation"):
            loss, reference = training.held_out[f"{view} {name}"]
            assert loss < reference, f"{view} {name}: {loss} is not below a constant's {reference}"
    with torch.no_grad():
        z = method(torch.arange(tiny_city.n_regions)).numpy()
    blocks = dict(zip(method.block_names, np.split(z, np.cumsum(method.blocks)[:-1], axis=1), strict=True))
    for view in VIEWS:
        assert view_order(blocks[view], views[view]).spearman > 0.6
