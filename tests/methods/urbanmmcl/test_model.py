"""UrbanMMCL on the tiny city: its sums, its masks, and that every part learns."""

import pytest
import torch

from urbankit import registry
from urbankit.methods.base import MethodInputs
from urbankit.methods.losses import two_way_info_nce
from urbankit.methods.urbanmmcl.extensions import masked_losses
from urbankit.registry.component import Use
from urbankit.utils.errors import UserError

VIT = {"patch_size": 16, "hidden_size": 16, "layers": 1, "heads": 2}
MODALITIES = {
    "rsi": Use(name="vit", **VIT),
    "svi": Use(name="vit", **VIT),
    "text": Use(name="text", hidden_size=16, layers=1, heads=2, vocabulary=300),
    "location": Use(name="geoclip", features=8, hidden=16, layers=1, width=16),
}
VIEWS = ("poi", "mobility", "distance")


def built(city, modalities=MODALITIES, views=VIEWS, **params):
    torch.manual_seed(0)
    graphs = {name: registry.create("view", Use(name=name)).build(city) for name in views}
    small = {"dim": 16, "graph_encoder": {"name": "vgae", "latent": 8}, "subgraph_encoder": {"name": "gcn", "out": 8}}
    method = registry.create(
        "method", Use(name="urbanmmcl", **(small | params)), MethodInputs(city, modalities, graphs)
    )
    method.prepare()
    return method


@pytest.fixture
def everyone(tiny_city):
    return torch.arange(tiny_city.n_regions)


def test_total_loss_is_equation_27_of_its_terms(tiny_city, everyone):
    method = built(tiny_city, alpha=0.3, beta=0.7)
    losses = {name: float(value.detach()) for name, value in method.loss(everyone).items()}
    alignments = ["rsi–text/rsi", "rsi–location", "svi–text/svi", "svi–location/svi"]
    contrasts = ["poi–mobility", "poi–distance", "mobility–distance"]
    view_terms = [f"{view} {name}" for view in VIEWS for name in ("reconstruction", "kl")]
    assert set(losses) == {"total", "multimodal", "graph", *alignments, *contrasts, *view_terms}
    assert losses["multimodal"] == pytest.approx(sum(losses[name] for name in alignments), rel=1e-5)
    assert losses["graph"] == pytest.approx(sum(losses[name] for name in (*contrasts, *view_terms)), rel=1e-5)
    assert losses["total"] == pytest.approx(0.3 * losses["multimodal"] + 0.7 * losses["graph"], rel=1e-5)


def test_agreement_weights_only_affect_alignments_with_text(tiny_city, everyone):
    plain = built(tiny_city).eval()
    weighed = built(tiny_city, caption_weights={"name": "agreement", "warmup": 0}).eval()
    weighed.load_state_dict(plain.state_dict(), strict=False)
    vectors, present = plain.channels(everyone)
    before = plain.multimodal.losses(vectors, present)
    assert weighed.multimodal.losses(vectors, present) == before, "validation weighs no pair"
    after = weighed.train().multimodal.losses(vectors, present)
    changed = {name for name in before if not torch.allclose(before[name], after[name])}
    assert changed == {"rsi–text/rsi", "svi–text/svi"}
    both = present["svi"] & present["text/svi"]
    pair = vectors["svi"][both], vectors["text/svi"][both]
    weight = weighed.caption_weights["svi–text/svi"](*pair)
    assert torch.allclose(after["svi–text/svi"], two_way_info_nce(*pair, 0.5, weight))


def test_every_part_gets_a_gradient(tiny_city, everyone):
    method = built(tiny_city, projection_head=8, masked_features=1.0)
    method.train()
    method.loss(everyone)["total"].backward()
    for part, parameters in method.parts().items():
        assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in parameters) or not parameters, part


def test_batch_order_and_cached_encoder_vectors_change_no_embedding(tiny_city, everyone):
    method = built(tiny_city, subgraph={"name": "full"}).eval()
    order = torch.randperm(len(everyone), generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        assert torch.allclose(method(everyone[order]), method(everyone)[order], atol=1e-4)
        before = method(everyone)
        method.freeze({"projections", "graph_encoder"})
        after = method(everyone)
    assert method.channels.cached
    assert torch.allclose(before, after, atol=1e-4)


def test_the_embedding_consists_of_its_blocks(tiny_city, everyone):
    method = built(tiny_city, fusion={"name": "concat"}, readout="mean+root").eval()
    assert method.blocks == [16, 16, 16, 16, 16, 16, 16] and sum(method.blocks) == method.dim
    assert method(everyone).shape == (len(everyone), method.dim)


def test_unit_scale_blocks_differ_only_by_centre_and_scale(tiny_city, everyone):
    params = {"fusion": {"name": "concat"}, "subgraph": {"name": "full"}}
    learned, unit = (built(tiny_city, block_scale=scale, **params).eval() for scale in ("learned", "unit"))
    with torch.no_grad():
        plain, scaled = (method(everyone).split(method.blocks, dim=1) for method in (learned, unit))
    for before, after in zip(plain, scaled, strict=True):
        centred = before - before.mean(dim=0)
        length = centred.square().sum(dim=1).mean().sqrt()
        torch.testing.assert_close(after, centred / length, atol=1e-4, rtol=1e-3)
        assert after.square().sum(dim=1).mean() == pytest.approx(1, abs=1e-3)


def test_measuring_blocks_does_not_advance_the_random_generator(tiny_city):
    method = built(tiny_city, block_scale="unit")
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    method.prepare()
    first = method.scale.clone()
    assert torch.equal(torch.rand(1), expected)
    method.prepare()
    assert torch.equal(method.scale, first)


def test_regions_without_street_views_have_a_zero_block(tiny_city, everyone):
    method = built(tiny_city, views=(), fusion={"name": "concat"}).eval()
    absent = ~method.channels.pools["svi"].present
    assert absent.any() and not absent.all()
    with torch.no_grad():
        svi = method(everyone)[:, method.blocks[0] : 2 * method.blocks[0]]
    assert (svi[absent] == 0).all() and (svi[~absent] != 0).any(dim=1).all()


def test_a_city_without_images_and_views_still_has_embeddings(tiny_city, everyone):
    method = built(tiny_city, {"text": MODALITIES["text"], "location": MODALITIES["location"]}, views=())
    losses = method.loss(everyone)
    assert torch.isfinite(losses["total"]) and method(everyone).shape == (len(everyone), method.dim)


def test_mini_batches_keep_the_features_of_other_regions(tiny_city):
    method = built(tiny_city).train()
    before = method.bank.clone()
    batch = torch.tensor([1, 4, 7])
    method.loss(batch)["total"].backward()
    changed = (method.bank != before).any(dim=1).nonzero().squeeze(1)
    assert set(changed.tolist()) <= {1, 4, 7}


def test_masked_loss_is_the_squared_error_on_standardised_features(tiny_city):
    method = built(tiny_city, masked_features=1.0)
    features, hidden = torch.randn(6, method.bank.shape[1]), torch.tensor([True, False, True, False, False, True])
    embeddings = {view: torch.randn(6, 8) for view in VIEWS}
    losses = masked_losses(method.decoders, embeddings, features, hidden)
    target = (features - features.mean(0)) / features.std(0)
    for view in VIEWS:
        error = method.decoders[view](embeddings[view])[hidden] - target[hidden]
        assert torch.allclose(losses[f"{view} masked"], (error**2).mean(), atol=1e-5)


def test_matched_vectors_are_those_that_the_losses_align_and_leave_the_method_as_it_is(tiny_city, everyone):
    method = built(tiny_city).eval()
    before = {name: value.clone() for name, value in method.state_dict().items()}
    with torch.no_grad():
        pairs = {(pair.block, pair.other): pair for pair in method.matched(everyone)}
        losses = method.held_out(everyone)
    for (block, other), pair in pairs.items():
        both = pairs[other, block]
        assert torch.equal(pair.vectors, both.others) and torch.equal(pair.present, both.present)
    assert {name for name in losses if "–" in name} == {"–".join(pair) for pair in pairs} & set(losses)
    pair = pairs["rsi", "text/rsi"]
    loss = two_way_info_nce(pair.vectors[pair.present], pair.others[pair.present], method.params.temperature)
    assert torch.allclose(loss, losses["rsi–text/rsi"].loss, atol=1e-5)
    assert all(torch.equal(before[name], value) for name, value in method.state_dict().items())


def test_one_region_alone_has_finite_losses(tiny_city):
    method = built(tiny_city, masked_features=1.0, mask_share=0.99).train()
    losses = method.loss(torch.tensor([3]))
    assert torch.isfinite(losses["total"]) and not any("masked" in name for name in losses)


def test_modalities_and_views_may_have_any_name(tiny_city, everyone):
    graph = registry.create("view", Use(name="distance")).build(tiny_city)
    modalities = {"type": Use(name="coordinates"), "values": Use(name="poi_counts")}
    method = registry.create(
        "method", Use(name="urbanmmcl", dim=16), MethodInputs(tiny_city, modalities, {"train": graph, "half": graph})
    )
    method.prepare()
    assert torch.isfinite(method.train().loss(everyone)["total"])
    assert {"channels.encoders.type.projection.weight"} <= set(method.state_dict())


def test_missing_node_features_are_named(tiny_city):
    with pytest.raises(UserError, match=r"method.features: .*\(rsi, svi\)"):
        built(tiny_city, {"location": MODALITIES["location"]}, features=["rsi", "svi"])


@pytest.mark.parametrize(
    ("params", "key"),
    [
        ({"alignments": [["rsi", "txt"]]}, "alignments.0"),
        ({"features": ["rsi", "location/sv"]}, "features.1"),
        ({"view_contrasts": [["poi", "flows"]]}, "view_contrasts.0"),
    ],
)
def test_unknown_modalities_and_views_of_parameters_are_named(params, key):
    cls = registry.get("method", "urbanmmcl")
    [(where, message)] = cls.check(cls.Params(**params), set(MODALITIES), set(VIEWS))
    assert where == key and "the recipe has no" in message


def test_features_of_held_out_regions_are_updated(tiny_city):
    """Validation encodes the regions that no mini-batch has; the graph part must not train beside stale ones."""
    method = built(tiny_city).eval()
    held_out = torch.tensor([2, 5])
    method.bank[held_out] = 99.0
    with torch.no_grad():
        method.loss(held_out)
        fresh = method.multimodal.node_features(*method.channels(held_out))[0]
    assert torch.allclose(method.bank[held_out], fresh, atol=1e-5)


def test_view_without_present_regions_has_no_loss(tiny_city, everyone):
    method = built(tiny_city, views=("distance",)).eval()
    method.multiview.present["distance"][:] = False
    assert not any("reconstruction" in name for name in method.loss(everyone))
