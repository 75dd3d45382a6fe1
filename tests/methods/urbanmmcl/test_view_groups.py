"""Groups of views: how they stand in the losses and in Z*, and what may be wrong with them."""

import pytest
import torch

from urbankit import Recipe, registry
from urbankit.methods.base import MethodInputs
from urbankit.methods.urbanmmcl.view_groups import ViewGroup, ViewGroups
from urbankit.registry.component import Use
from urbankit.utils.errors import UserError

HOURS = {"morning": [5, 10], "evening": [15, 20]}
GROUP = {"mobility": {"views": list(HOURS), "fusion": {"name": "attention"}}}


@pytest.fixture
def everyone(tiny_city):
    return torch.arange(tiny_city.n_regions)


def built(city, **params):
    torch.manual_seed(0)
    uses = {name: Use(name="temporal", hours=hours) for name, hours in HOURS.items()} | {
        "distance": Use(name="distance")
    }
    views = {name: registry.create("view", use).build(city) for name, use in uses.items()}
    small = {"dim": 8, "graph_encoder": {"name": "vgae", "latent": 8}, "subgraph_encoder": {"name": "gcn", "out": 8}}
    modalities = {"poi": Use(name="poi_counts"), "coordinates": Use(name="coordinates")}
    use = Use(name="urbanmmcl", **(small | {"view_groups": GROUP} | params))
    method = registry.create("method", use, MethodInputs(city, modalities, views))
    method.prepare()
    return method


def test_group_is_contrasted_as_one_view_and_its_views_keep_their_reconstruction(tiny_city, everyone):
    method = built(tiny_city, masked_features=1.0, projection_head=8).train()
    losses = method.loss(everyone)
    view_terms = {f"{view} {name}" for view in (*HOURS, "distance") for name in ("reconstruction", "kl")}
    assert view_terms | {"mobility–distance", "mobility masked", "distance masked"} <= set(losses)
    assert not any(f"{view}–" in name or f"{view} masked" in name for view in HOURS for name in losses)
    assert set(method.projection_heads) == set(method.decoders) == {"mobility", "distance"}
    assert method(everyone).shape == (len(everyone), method.dim)


def test_the_attention_learns_in_pre_training(tiny_city, everyone):
    method = built(tiny_city).train()
    method.loss(everyone)["total"].backward()
    attention = method.groups.fusions["mobility"]
    for parameter in attention.parameters():
        assert parameter.grad.abs().sum() > 0
    assert {id(p) for p in attention.parameters()} <= {id(p) for p in method.parts()["fusion"]}


def test_blocks_are_named_after_modalities_views_and_groups(tiny_city):
    method = built(tiny_city, fusion={"name": "concat"})
    assert method.block_names == ["poi", "coordinates", "mobility", "distance"]
    assert len(method.blocks) == 4
    assert built(tiny_city).block_names == ["modalities", "mobility", "distance"]
    assert built(tiny_city, join={"name": "mlp"}).block_names == ["embedding"]


def test_group_embedding_is_the_weighted_sum_of_its_views(tiny_city, everyone):
    method = built(tiny_city).eval()
    groups, n = method.groups, len(everyone)
    embeddings = {view: torch.randn(n, 8) for view in method.multiview.graphs}
    present = {view: torch.rand(n) < 0.6 for view in method.multiview.graphs}
    joined, joined_present = groups(embeddings, present), groups.present(present)
    views, masks = [embeddings[view] for view in HOURS], [present[view] for view in HOURS]
    weights = groups.fusions["mobility"].weights(views, masks)
    expected = sum(weights[:, k : k + 1] * views[k] for k in range(2))
    assert torch.allclose(joined["mobility"], expected, atol=1e-6)
    assert torch.equal(joined_present["mobility"], masks[0] | masks[1])
    assert torch.equal(joined_present["distance"], present["distance"])
    assert joined["distance"] is embeddings["distance"]


def test_missing_views_are_left_out_of_their_group():
    group = ViewGroup(views=["morning", "evening"])
    assert ViewGroups({"mobility": group}, {"evening": 4, "poi": 4}, 4).members == {
        "mobility": ["evening"],
        "poi": ["poi"],
    }
    assert ViewGroups({"mobility": group}, {"poi": 4}, 4).members == {"poi": ["poi"]}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ("view_groups={flows: {views: [mornin]}}", r"view_groups.flows.views\[0\]: .*no view 'mornin'.*'morning'"),
        ("view_groups={poi: {views: [morning]}}", r"view_groups.poi: a view is called 'poi' already"),
        ("view_groups={places: {views: [poi, poi]}}", r"places.views\[1\]: 'poi' is twice in the group"),
        ("view_groups={flows: {views: [night]}}", r"flows.views\[0\]: 'night' is in the group 'mobility' already"),
        ("view_groups={flows: {views: []}}", r"view_groups.flows.views: .*at least 1"),
        ("view_groups={flows: {views: [poi], fusion: {name: attn}}}", r"flows.fusion.name: unknown fusion 'attn'"),
        ("view_contrasts=[[poi, night]]", r"view_contrasts\[0\]: 'night' is in a group; contrast the group"),
        ("view_contrasts=[[poi, mobilty]]", r"view_contrasts\[0\]: the recipe has no view 'mobilty'"),
    ],
)
def test_mistakes_in_groups_are_refused_when_the_recipe_is_loaded(changes, message):
    with pytest.raises(UserError, match=message):
        Recipe.load("ablations/temporal", [f"method.{changes}"])


def test_a_group_may_be_contrasted_by_name():
    assert Recipe.load("ablations/temporal", ["method.view_contrasts=[[poi, mobility]]"])
