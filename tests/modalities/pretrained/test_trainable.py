"""Which weights training changes: the last layers, or adapters; what is frozen, saved and kept of each."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.checkpoints import IMAGES, clip, save_tokenizer, saved, siglip, with_images
from helpers.fake_city import FakeCity

from urbankit.modalities.cache.store import FeatureStore
from urbankit.modalities.pooling import RegionEncoder
from urbankit.modalities.text import Text
from urbankit.modalities.vit import ViT
from urbankit.utils.errors import UserError


def vit(city: FakeCity, folder: Path, **params: object) -> ViT:
    torch.manual_seed(0)
    return ViT(ViT.Params(pretrained=str(folder), **params), city, "svi", 8)


def changed(encoder: torch.nn.Module) -> set[str]:
    """The names of the weights that a step of training changes."""
    before = {name: value.clone() for name, value in encoder.state_dict().items() if value.dtype.is_floating_point}
    parts = encoder.parts()
    optimizer = torch.optim.SGD([p for group in parts.values() for p in group], lr=10.0)
    batch = encoder.load(np.arange(3))
    encoder.train()
    for _ in range(2):  # the first step of an adapter changes its second factor alone, as that begins as zero
        optimizer.zero_grad()
        encoder.project(encoder(batch)).square().sum().backward()
        optimizer.step()
    after = encoder.state_dict()
    return {name for name, value in before.items() if not torch.equal(value, after[name])}


@pytest.mark.parametrize("family", IMAGES)
def test_last_n_trains_only_the_last_layers(city: FakeCity, tmp_path: Path, family: str) -> None:
    saved(IMAGES[family][0], tmp_path)
    with_images(city)
    encoder = vit(city, tmp_path, trainable="last_n", last_n=1)
    names = changed(encoder)
    assert "projection.weight" in names and any(".1." in name and "mlp" in name for name in names)
    assert not any(".0." in name and name.startswith("model") and "layer" in name for name in names), names
    assert not any("embed" in name for name in names)
    assert any("norm" in name and ".1." not in name for name in names)  # the final normalisation follows the layers
    assert not encoder.frozen and len(encoder.parts()["backbone"]) == sum(
        p.requires_grad for p in encoder.model.parameters()
    )


def test_siglips_pooling_head_follows_its_layers(city: FakeCity, tmp_path: Path) -> None:
    saved(siglip, tmp_path)
    with_images(city)
    assert "model.head.probe" in changed(vit(city, tmp_path, trainable="last_n", last_n=2))


def test_frozen_layers_have_no_dropout(city: FakeCity) -> None:
    params = ViT.Params(trainable="last_n", last_n=1, layers=2, patch_size=8, hidden_size=16, heads=2, dropout=0.5)
    encoder = ViT(params, city, "svi", 8).train()
    assert not encoder.model.layers[0].training and not encoder.model.embeddings.training
    assert encoder.model.layers[1].training and encoder.model.layers[1].dropout.training


def test_last_n_above_the_number_of_layers_is_refused(city: FakeCity, tmp_path: Path) -> None:
    saved(clip, tmp_path)
    with_images(city)
    with pytest.raises(UserError, match=r"modalities\.svi\.last_n: is 3, but .* has 2 layers"):
        vit(city, tmp_path, trainable="last_n", last_n=3)


def test_lora_without_peft_is_refused(city: FakeCity, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved(clip, tmp_path)
    with_images(city)
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(UserError, match=r"modalities\.svi\.trainable: .*pip install 'urbankit\[lora\]'"):
        vit(city, tmp_path, trainable="lora")


@pytest.fixture
def peft() -> None:
    pytest.importorskip("peft")


@pytest.mark.usefixtures("peft")
@pytest.mark.parametrize("family", ["clip", "siglip", "dinov2", "dinov3", "vit"])
def test_lora_trains_only_adapters_and_projection(city: FakeCity, tmp_path: Path, family: str) -> None:
    saved(IMAGES[family][0], tmp_path)
    with_images(city)
    plain, adapted = vit(city, tmp_path), vit(city, tmp_path, trainable="lora", lora={"rank": 2})
    batch = plain.load(np.arange(3))
    torch.testing.assert_close(plain.eval()(batch), adapted.eval()(batch))  # until trained they change nothing
    names = changed(adapted)
    assert "projection.weight" in names
    assert {name.split(".")[-3] for name in names - {"projection.weight"}} == {"lora_A", "lora_B"}
    assert sum("lora_A" in name for name in names) == 4  # of queries and values in two layers
    assert all(p.shape[0] == 2 or p.shape[1] == 2 for p in adapted.parts()["backbone"])


@pytest.mark.usefixtures("peft")
def test_lora_targets_select_layers(city: FakeCity, tmp_path: Path) -> None:
    saved(clip, tmp_path)
    save_tokenizer(tmp_path)
    with_images(city)
    encoder = vit(city, tmp_path, trainable="lora", lora={"targets": ["fc1"], "rank": 3, "alpha": 6})
    assert len(encoder.parts()["backbone"]) == 4
    with pytest.raises(UserError, match=r"modalities\.svi\.lora\.targets: .*named fc9; it has .*fc1"):
        vit(city, tmp_path, trainable="lora", lora={"targets": ["fc9"]})
    text = Text(Text.Params(pretrained=str(tmp_path), trainable="lora"), city, "text", 8)
    assert len(text.parts()["backbone"]) == 8


@pytest.mark.usefixtures("peft")
def test_adapters_are_saved_and_cached_by_their_weights(city: FakeCity, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    saved(clip, tmp_path)
    with_images(city)
    encoder = vit(city, tmp_path, trainable="lora")
    changed(encoder)
    save_file(encoder.state_dict(), tmp_path / "trained.safetensors")
    other = vit(city, tmp_path, trainable="lora")
    before = other.weights_hash()
    other.load_state_dict(load_file(tmp_path / "trained.safetensors"))
    assert other.weights_hash() == encoder.weights_hash() != before
    for one in (encoder, other):
        one.requires_grad_(False)
        assert one.frozen
    assert torch.equal(RegionEncoder(encoder).keep()[0], RegionEncoder(other).keep()[0])
    assert len(list(FeatureStore().folder.rglob("*.safetensors"))) == 1


def test_cached_features_do_not_depend_on_trainable(city: FakeCity, tmp_path: Path) -> None:
    saved(clip, tmp_path / "one")
    saved(clip, tmp_path / "two")
    with_images(city)
    encoders = [
        vit(city, tmp_path / "one", trainable="none"),
        vit(city, tmp_path / "two", trainable="projection", augment="street"),
        vit(city, tmp_path / "one", trainable="last_n"),
    ]
    for encoder in encoders:
        encoder.requires_grad_(False)
        RegionEncoder(encoder).keep()
    assert len(list(FeatureStore().folder.rglob("*.safetensors"))) == 1


@pytest.mark.parametrize("preprocessor", [{"size": {"height": 24, "width": 24}}, {"resample": 3}])
def test_cached_features_depend_on_preprocessing(city: FakeCity, tmp_path: Path, preprocessor: dict) -> None:
    saved(clip, tmp_path / "one", size={"height": 32, "width": 32}, resample=2)
    saved(clip, tmp_path / "two", **{"size": {"height": 32, "width": 32}, "resample": 2} | preprocessor)
    with_images(city)
    one, two = (RegionEncoder(vit(city, tmp_path / name, trainable="none")).content(None) for name in ("one", "two"))
    assert one != two
