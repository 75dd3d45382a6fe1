"""Groups of modalities: what they join, how they are aligned, and what may be wrong with them."""

import pytest
import torch

from urbankit import Recipe, registry
from urbankit.methods.base import MethodInputs
from urbankit.methods.losses import two_way_info_nce
from urbankit.methods.urbanmmcl.multimodal import Temperature
from urbankit.registry.component import Use
from urbankit.utils.errors import UserError

GROUP = {"activity": {"modalities": ["poi", "flows"]}}
SMALL = {"dim": 8, "graph_encoder": {"name": "vgae", "latent": 8}, "subgraph_encoder": {"name": "gcn", "out": 8}}


def built(city, **params):
    torch.manual_seed(0)
    modalities = {
        "poi": Use(name="poi_counts"),
        "flows": Use(name="flow_profile", components=0),
        "coordinates": Use(name="coordinates"),
    }
    views = {"distance": registry.create("view", Use(name="distance")).build(city)}
    settings = SMALL | {"modality_groups": GROUP, "alignments": [["coordinates", "activity"]]} | params
    method = registry.create("method", Use(name="urbanmmcl", **settings), MethodInputs(city, modalities, views))
    method.prepare()
    return method


def test_group_is_the_sum_of_its_modalities_in_the_alignment(tiny_city):
    method = built(tiny_city, temperature=0.2).eval()
    vectors, present = method.channels(torch.arange(tiny_city.n_regions))
    both, either = present["poi"] & present["flows"], present["poi"] | present["flows"]
    assert both.sum() > 2 and torch.equal(present["activity"], either)
    torch.testing.assert_close(vectors["activity"][both], (vectors["poi"] + vectors["flows"])[both])
    expected = two_way_info_nce(vectors["coordinates"][both], vectors["activity"][both], 0.2)
    torch.testing.assert_close(method.loss(both.nonzero().squeeze(1))["coordinates–activity"], expected)
    assert method.block_names == ["modalities", "distance"], "a group is no part of the node features"


def test_group_trains_its_modalities_and_its_fusion(tiny_city):
    group = {"activity": {"modalities": ["poi", "flows"], "fusion": {"name": "mlp"}}}
    method = built(tiny_city, modality_groups=group, beta=0.0).train()
    method.loss(torch.arange(tiny_city.n_regions))["total"].backward()
    fusion = [*method.channels.groups.parameters()]
    for parameter in [*fusion, method.channels.encoders["poi"].projection.weight]:
        assert parameter.grad.abs().sum() > 0
    assert {id(p) for p in fusion} <= {id(p) for p in method.parts()["fusion"]}


def test_group_has_the_modalities_that_the_city_has(tiny_city):
    group = {"activity": {"modalities": ["poi", "absent"]}, "none": {"modalities": ["absent"]}}
    method = built(tiny_city, modality_groups=group, alignments=[["coordinates", "activity"], ["coordinates", "none"]])
    assert method.channels.groups.members == {"activity": ["poi"]}
    assert method.channels.alignments == [("coordinates", "activity")]


def test_group_is_left_out_if_the_city_lacks_what_it_is_aligned_with(tiny_city):
    method = built(tiny_city, alignments=[["svi", "activity"]], features=["coordinates"])
    assert not method.channels.groups.members and not method.channels.alignments
    assert method.loss(torch.arange(tiny_city.n_regions))["total"].isfinite()


def test_fusion_of_a_group_must_keep_the_width(tiny_city):
    group = {"activity": {"modalities": ["poi", "flows"], "fusion": {"name": "concat"}}}
    message = "method.modality_groups.activity.fusion: concat gives vectors of 16 numbers, .* vectors of 8"
    with pytest.raises(UserError, match=message):
        built(tiny_city, modality_groups=group)


def test_group_is_trained_if_only_its_fusion_is(tiny_city):
    group = {"activity": {"modalities": ["poi", "flows"], "fusion": {"name": "mlp"}}}
    method = built(tiny_city, modality_groups=group)
    method.channels.encoders.requires_grad_(False)
    assert method.channels.trained("activity") and not method.channels.trained("poi")


def test_smallest_temperature_can_rise_again():
    temperature = Temperature("learned")
    with torch.no_grad():
        temperature.log_inverse.fill_(20.0)
    temperature().backward()
    assert temperature.log_inverse.grad < 0, "the gradient reaches the parameter at the bound"


def test_temperature_is_a_number_or_learned(tiny_city):
    method = built(tiny_city, alignment_temperature="learned").train()
    assert method.temperature().item() == pytest.approx(0.07)
    method.loss(torch.arange(tiny_city.n_regions))["total"].backward()
    assert method.temperature.log_inverse.grad.abs() > 0
    assert any(p is method.temperature.log_inverse for p in method.parts()["pretext"])
    with torch.no_grad():
        method.temperature.log_inverse.fill_(20.0)
    assert float(method.temperature()) == pytest.approx(Temperature.SMALLEST)
    assert built(tiny_city, temperature=0.3).temperature() == 0.3
    assert built(tiny_city, alignment_temperature=0.1).temperature() == 0.1


def test_group_that_no_alignment_names_is_left_out(tiny_city):
    method = built(tiny_city, alignments=[["coordinates", "poi"]])
    assert method.channels.groups.members == {}
    assert list(method.loss(torch.arange(tiny_city.n_regions))).count("coordinates–poi") == 1


@pytest.mark.parametrize(
    ("method", "message"),
    [
        ({"modality_groups": {"a": {"modalities": ["pio"]}}, "alignments": [["poi", "a"]]}, "no modality 'pio'"),
        (
            {"modality_groups": {"a": {"modalities": ["poi", "poi"]}}, "alignments": [["poi", "a"]]},
            "twice in the group",
        ),
        (
            {"modality_groups": {"a": {"modalities": ["poi"]}}, "alignments": [["poi", "a"]]},
            "'poi' is in the group 'a'",
        ),
        ({"alignments": [["poi", "poi"]]}, "'poi' cannot be aligned with itself"),
        ({"modality_groups": {"poi": {"modalities": ["poi"]}}, "alignments": [["poi", "poi"]]}, "called 'poi' already"),
    ],
)
def test_mistakes_in_groups_are_named(method, message):
    recipe = {
        "name": "groups", "city": {"demo": {}}, "modalities": {"poi": {"name": "poi_counts"}},
        "views": {"distance": {"name": "distance"}}, "method": {"name": "urbanmmcl", **method}, "tasks": {},
    }  # fmt: skip
    with pytest.raises(UserError, match=message):
        Recipe.load(recipe)
