"""UrbanVLP: losses, sampling, calibration of captions, and requirements."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import CLIPConfig, CLIPModel, PreTrainedTokenizerFast
from urbankit_baselines import urbanvlp
from urbankit_baselines.urbanvlp import UrbanVLP, token_similarity

from urbankit import registry
from urbankit.methods.base import MethodInputs
from urbankit.modalities.pretrained.tokenizer import END, PAD, SPECIAL, START, train_tokenizer
from urbankit.registry.component import Use
from urbankit.utils.errors import UserError

VIT = {"patch_size": 16, "hidden_size": 16, "layers": 1, "heads": 2}
MODALITIES = {
    "rsi": Use(name="vit", **VIT, augment="overhead"),
    "svi": Use(name="vit", **VIT, augment="street"),
    "text": Use(name="text", hidden_size=16, layers=1, heads=2, vocabulary=300),
    "location": Use(name="geoclip", features=8, hidden=16, layers=1, width=16),
}


def build(city, modalities=MODALITIES, **params):
    torch.manual_seed(0)
    method = registry.create("method", Use(name="urbanvlp", **{"dim": 16} | params), MethodInputs(city, modalities))
    method.prepare()
    return method


@pytest.fixture
def all_regions(tiny_city):
    return torch.arange(tiny_city.n_regions)


def two_way_by_loops(logits: torch.Tensor) -> float:
    n, total = len(logits), 0.0
    for i in range(n):
        total -= float(logits[i, i]) - math.log(sum(math.exp(float(x)) for x in logits[i]))
        total -= float(logits[i, i]) - math.log(sum(math.exp(float(x)) for x in logits[:, i]))
    return total / (2 * n)


def tokens(draw, n, length, d=6):
    x = torch.nn.functional.normalize(torch.randn(n, length, d, generator=draw), dim=2)
    present = torch.rand(n, length, generator=draw) < 0.6
    present[:, 0] = True
    return x, present


@pytest.mark.parametrize("block", [1, 1 << 24])
def test_token_similarity_matches_the_formula_of_filip(block, monkeypatch):
    monkeypatch.setattr(urbanvlp, "BLOCK", block)
    draw = torch.Generator().manual_seed(0)
    (a, in_a), (b, in_b) = tokens(draw, 5, 4), tokens(draw, 5, 7)
    result = token_similarity(a, in_a, b, in_b)
    for i in range(5):
        for j in range(5):
            best = [max(float(x @ y) for y in b[j][in_b[j]]) for x in a[i][in_a[i]]]
            assert float(result[i, j]) == pytest.approx(sum(best) / len(best), abs=1e-5)


@torch.no_grad()
def test_both_levels_are_two_way_contrastive_losses(tiny_city, all_regions):
    method = build(tiny_city, alpha=0.3, beta=0.6, temperature=0.2, max_observations=16).eval()
    pooled = {name: method._unit(name, all_regions) for name in ("rsi", "svi", "location")}
    losses = method.loss(all_regions[:12])
    assert set(losses) == {"total", "macro", "micro"}
    assert torch.allclose(losses["total"], 0.3 * losses["macro"] + 0.6 * losses["micro"])
    torch.manual_seed(5)
    losses = method.loss(all_regions)
    torch.manual_seed(5)
    street = method.images["svi"].tokens(all_regions, 16, False, None)
    tiles, captions = (
        observations.tokens(all_regions, 1, False, None)
        for observations in (method.images["rsi"], method.captions["rsi"])
    )
    both = tiles.present & captions.present
    assert torch.allclose(street.vector, pooled["svi"], atol=1e-5) and torch.allclose(
        tiles.vector, pooled["rsi"], atol=1e-5
    )
    image = torch.nn.functional.normalize(sum(pooled.values()), dim=1)[both]
    assert float(losses["macro"]) == pytest.approx(two_way_by_loops(image @ captions.vector[both].T / 0.2), rel=1e-4)
    captions_of_street = method.captions["svi"].tokens(all_regions, 16, False, None)
    both = street.present & captions_of_street.present
    similar = token_similarity(
        *(
            x[both]
            for x in (street.tokens, street.token_present, captions_of_street.tokens, captions_of_street.token_present)
        )
    )
    assert float(losses["micro"]) == pytest.approx(two_way_by_loops(similar / 0.2), rel=1e-4)


def test_draw_returns_a_limited_number_of_observations_of_each_region(tiny_city, all_regions):
    views = build(tiny_city).images["svi"]
    rows, owner, number = views.draw(all_regions, 2)
    assert (views.region[rows.numpy()] == owner.numpy()).all() and number.max() == 1
    assert len(set(rows.tolist())) == len(rows)
    count = np.bincount(views.region, minlength=49)
    assert (np.bincount(owner.numpy(), minlength=49) == np.minimum(count, 2)).all()
    again = [tuple(views.draw(all_regions, 2)[0].tolist()) for _ in range(5)]
    assert len(set(again)) > 1


def test_regions_without_street_views_use_their_tile(tiny_city, all_regions):
    method = build(tiny_city).eval()
    absent = ~method.images["svi"].present
    assert absent.any() and not absent.all()
    tokens = method.images["svi"].tokens(all_regions, 4, False, None)
    assert (tokens.vector[absent] == 0).all() and not tokens.token_present[absent].any()
    with torch.no_grad():
        embeddings = method(all_regions)
        assert torch.allclose(
            embeddings[absent], (method._unit("rsi", all_regions) + method._unit("location", all_regions))[absent]
        )
        losses = method.loss(absent.nonzero().squeeze(1))
    assert all(torch.isfinite(value) for value in losses.values()) and float(losses["micro"]) == 0


def test_parts_cover_all_parameters_and_have_gradients(tiny_city, all_regions):
    method = build(tiny_city).train()
    method.loss(all_regions)["total"].backward()
    parts = method.parts()
    assert {id(p) for p in method.parameters()} == {id(p) for ps in parts.values() for p in ps}
    for part, parameters in parts.items():
        assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in parameters), part


def test_embeddings_do_not_depend_on_the_order_of_a_batch(tiny_city, all_regions):
    method = build(tiny_city).eval()
    order = torch.randperm(49, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        assert torch.allclose(method(order), method(all_regions)[order], atol=1e-5)


def test_sampling_uses_the_generator_of_torch(tiny_city, all_regions):
    method = build(tiny_city).train()

    def loss(seed):
        torch.manual_seed(seed)
        return float(method.loss(all_regions)["total"].detach())

    assert loss(1) == loss(1) != loss(2)


def test_location_is_optional(tiny_city, all_regions):
    modalities = {name: use for name, use in MODALITIES.items() if name != "location"}
    method = build(tiny_city, modalities, location=None)
    assert torch.isfinite(method.loss(all_regions)["total"]) and set(method.encoders) == {"rsi", "svi"}


@pytest.fixture
def clip(tmp_path: Path, tiny_city) -> str:
    """A small CLIP checkpoint with a tokenizer."""
    torch.manual_seed(5)
    small = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    text = small | {"vocab_size": 300, "bos_token_id": START, "eos_token_id": END, "pad_token_id": PAD}
    vision = small | {"image_size": 32, "patch_size": 16}
    folder = tmp_path / "clip"
    CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=8)).save_pretrained(folder)
    PreTrainedTokenizerFast(
        tokenizer_object=train_tokenizer(tiny_city.captions("rsi")["text"].tolist(), 300),
        pad_token=SPECIAL[PAD], bos_token=SPECIAL[START], eos_token=SPECIAL[END],
    ).save_pretrained(folder)  # fmt: skip
    return str(folder)


def pretrained(clip):
    return MODALITIES | {
        name: Use(name="text" if name == "text" else "vit", pretrained=clip) for name in ("rsi", "svi", "text")
    }


def test_captions_with_a_low_clip_score_are_dropped(tiny_city, clip, monkeypatch):
    monkeypatch.setattr(UrbanVLP, "clip_scores", lambda self, name: np.arange(len(self.captions[name].region)) / 10)
    method = build(tiny_city, pretrained(clip), dim=8, min_clip_score=2.0)
    mask = np.arange(len(tiny_city.captions("rsi"))) >= 20
    rows = method.captions["rsi"].rows
    assert (rows == np.flatnonzero(mask)).all()
    assert (method.captions["rsi"].region == tiny_city.captions("rsi")["region"].to_numpy()[mask]).all()
    assert not method.captions["rsi"].present[method.captions["rsi"].region.min() - 1]
    method.prepare()  # after pre-training, with other weights
    assert method.captions["rsi"].rows is rows


def test_clip_score_is_the_cosine_of_caption_and_image(tiny_city, clip):
    method = build(tiny_city, pretrained(clip), dim=8, min_clip_score=0.0).eval()
    image, text = method.encoders["rsi"], method.texts["rsi"]
    with torch.no_grad():
        row = np.array([3])
        region = text.observations("rsi")[3]
        pixels = image.load(np.flatnonzero(image.observations() == region))
        a, b = image.project(image(pixels).mean(dim=0)), text.project(text(text.load(row, "rsi")))[0]
    expected = 2.5 * max(0.0, float(torch.cosine_similarity(a, b, dim=0)))
    assert float(method.clip_scores("rsi")[3]) == pytest.approx(expected, abs=1e-5)


def test_clip_score_needs_one_pretrained_checkpoint(tiny_city, clip):
    for modalities, dim in ((MODALITIES, 16), (pretrained(clip), 16)):
        with pytest.raises(UserError, match=r"method.min_clip_score: CLIPScore needs"):
            build(tiny_city, modalities, dim=dim, min_clip_score=0.5)


def test_error_if_all_captions_have_a_lower_score(tiny_city, clip):
    with pytest.raises(UserError, match=r"method.min_clip_score: .*'rsi'"):
        build(tiny_city, pretrained(clip), dim=8, min_clip_score=2.5)


def test_errors_name_the_missing_modality(tiny_city):
    cls = registry.get("method", "urbanvlp")
    assert [key for key, _ in cls.check(cls.Params(), {"rsi"}, set())] == ["street", "text", "location"]
    assert cls.check(cls.Params(location=None), {"rsi", "svi", "text"}, set()) == []
    without = {name: use for name, use in MODALITIES.items() if name not in ("svi", "text")}
    with pytest.raises(UserError, match=r"(?s)method.street: .*'svi'.*method.text: .*'text'"):
        build(tiny_city, without)
