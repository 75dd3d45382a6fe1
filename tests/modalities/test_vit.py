"""The vision transformer: against transformers itself, over bands, sizes, missing pixels, and with bad checkpoints."""

from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import checkpoints
from helpers.checkpoints import PREPROCESSOR, SMALL
from helpers.fake_city import FakeCity, FakeImages
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import BertConfig, BertModel, CLIPModel, CLIPVisionModel, ViTConfig, ViTModel

from urbankit.modalities.augment import augment
from urbankit.modalities.vit import ViT
from urbankit.utils.errors import UserError

MEAN, STD = PREPROCESSOR["image_mean"], PREPROCESSOR["image_std"]


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    checkpoints.saved(checkpoints.clip, tmp_path / "clip")
    return tmp_path / "clip"


def with_images(city: FakeCity, pixels: np.ndarray) -> FakeCity:
    city._images["svi"] = FakeImages("svi", np.arange(len(pixels)), pixels, city.lonlat[: len(pixels)])
    return city


def colour(n: int = 3, bands: int = 3, size: tuple[int, int] = (16, 16)) -> np.ndarray:
    return np.random.default_rng(2).integers(0, 256, (n, bands, *size), dtype=np.uint8)


def encode(city: FakeCity, dim: int = 8, modality: str = "svi", **params: object) -> tuple[ViT, Tensor]:
    encoder = ViT(ViT.Params(**params), city, modality, dim).eval()
    with torch.no_grad():
        return encoder, encoder(encoder.load(np.arange(len(encoder.observations()))))


def normalised(pixels: np.ndarray) -> Tensor:
    return (torch.tensor(pixels).float() / 255 - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)


def test_clip_checkpoint_equals_a_direct_call_and_another_dim_gets_a_new_projection(city: FakeCity, clip: Path) -> None:
    pixels = colour()
    encoder, vectors = encode(with_images(city, pixels), pretrained=str(clip))
    model = CLIPModel.from_pretrained(clip).eval()
    with torch.no_grad():
        direct = model.vision_model(normalised(pixels)).pooler_output
        torch.testing.assert_close(vectors, direct, atol=1e-6, rtol=1e-5)
        torch.testing.assert_close(encoder.project(vectors), model.visual_projection(direct), atol=1e-6, rtol=1e-5)
    assert encoder.width == 16
    encoder, vectors = encode(with_images(city, colour()), dim=12, pretrained=str(clip))
    assert encoder.project(vectors).shape == (3, 12)


def test_clip_vision_model_checkpoint_equals_a_direct_call(city: FakeCity, clip: Path, tmp_path: Path) -> None:
    CLIPVisionModel.from_pretrained(clip).save_pretrained(tmp_path / "vision")
    pixels = colour().astype(np.float32)
    _, vectors = encode(with_images(city, pixels), pretrained=str(tmp_path / "vision"))
    images = city.images("svi")
    scaled = (pixels - images.band_mean[:, None, None]) / images.band_std[:, None, None]
    with torch.no_grad():
        direct = CLIPVisionModel.from_pretrained(clip).eval()(torch.tensor(scaled).float()).pooler_output
    torch.testing.assert_close(vectors, direct, atol=1e-5, rtol=1e-5)


def test_vit_checkpoint_equals_a_direct_call(city: FakeCity, tmp_path: Path) -> None:
    model = ViTModel(ViTConfig(image_size=16, patch_size=8, **SMALL)).eval()
    model.save_pretrained(tmp_path / "vit")
    pixels = colour()
    _, vectors = encode(with_images(city, pixels), pretrained=str(tmp_path / "vit"))
    images = city.images("svi")
    scaled = (pixels / 255 - images.band_mean[:, None, None]) / images.band_std[:, None, None]
    with torch.no_grad():
        direct = model(torch.tensor(scaled).float()).last_hidden_state[:, 0]
    torch.testing.assert_close(vectors, direct, atol=1e-5, rtol=1e-5)


def test_other_sizes_are_resampled_or_positions_interpolated(city: FakeCity, clip: Path) -> None:
    with_images(city, colour(size=(30, 40)))
    encoder, vectors = encode(city, pretrained=str(clip))
    assert encoder.size == (16, 16) and vectors.isfinite().all()
    encoder, vectors = encode(city, pretrained=str(clip), image_size=(24, 32))
    pixels = encoder.pixels(encoder.load(np.arange(3)))
    with torch.no_grad():
        direct = CLIPModel.from_pretrained(clip).eval().vision_model(pixels, interpolate_pos_encoding=True)
    assert pixels.shape == (3, 3, 24, 32)
    torch.testing.assert_close(vectors, direct.pooler_output, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("rule", "bands"), [("mean", 5), ("mean", 1), ("inflate", 6), ("inflate", 9)])
def test_equal_bands_give_the_response_of_a_grey_image(city: FakeCity, clip: Path, rule: str, bands: int) -> None:
    grey = np.random.default_rng(0).normal(size=(2, 1, 16, 16)).astype(np.float32)
    _, many = encode(with_images(city, grey.repeat(bands, 1)), pretrained=str(clip), bands=rule)
    _, three = encode(with_images(city, grey.repeat(3, 1)), pretrained=str(clip), bands=rule)
    torch.testing.assert_close(many, three, atol=1e-5, rtol=1e-5)


def test_inflated_kernels_repeat_in_order(city: FakeCity, clip: Path) -> None:
    encoder, _ = encode(with_images(city, colour(bands=5)), pretrained=str(clip), bands="inflate")
    original = CLIPModel.from_pretrained(clip).vision_model.embeddings.patch_embedding.weight
    kernels = encoder.model.embeddings.patch_embedding.weight
    torch.testing.assert_close(kernels, original[:, [0, 1, 2, 0, 1]] * 3 / 5)


def test_first3_ignores_further_bands(city: FakeCity, clip: Path) -> None:
    pixels = colour(bands=4)
    _, four = encode(with_images(city, pixels), pretrained=str(clip), bands="first3")
    _, three = encode(with_images(city, pixels[:, :3]), pretrained=str(clip))
    torch.testing.assert_close(four, three)
    with pytest.raises(UserError, match="2 bands"):
        encode(with_images(city, pixels[:, :2]), pretrained=str(clip), bands="first3")


def test_validity_band_starts_without_effect_on_a_checkpoint(city: FakeCity, clip: Path) -> None:
    with_images(city, colour())
    _, without = encode(city, pretrained=str(clip))
    encoder, vectors = encode(city, pretrained=str(clip), validity_band=True)
    torch.testing.assert_close(vectors, without)
    assert encoder.pixels(encoder.load(np.arange(3))).shape[1] == 4


def test_missing_pixels_become_the_mean_and_can_be_flagged(city: FakeCity) -> None:
    encoder, vectors = encode(city, modality="rsi", patch_size=8, validity_band=True)
    assert vectors.isfinite().all() and encoder.model.config.num_channels == 3
    images = city.images("rsi")
    pixels = encoder.pixels(encoder.load(np.arange(len(images.region)))).numpy()
    filled = np.where(np.isnan(images.pixels), images.band_mean[:, None, None], images.pixels)
    expected = (filled - images.band_mean[:, None, None]) / images.band_std[:, None, None]
    np.testing.assert_allclose(pixels[:, :2], expected, atol=1e-4)
    np.testing.assert_allclose(pixels[:, 2], 1 - np.isnan(images.pixels).mean(1), atol=1e-6)


def test_from_scratch_equals_transformers_on_rectangles(city: FakeCity) -> None:
    encoder, vectors = encode(city, patch_size=8, hidden_size=32, layers=2)
    assert encoder.size == (16, 24)
    with torch.no_grad():
        pixels = encoder.pixels(encoder.load(np.arange(len(vectors))))
        direct = encoder.model(pixels).last_hidden_state[:, 0]
    torch.testing.assert_close(vectors, direct)
    assert vectors.shape == (len(city.images("svi").region), 32)


def test_sizes_that_are_not_whole_patches_are_rounded(city: FakeCity) -> None:
    encoder, vectors = encode(with_images(city, colour(size=(21, 9))), patch_size=8)
    assert encoder.size == (24, 8) and vectors.isfinite().all()


def test_fused_attention_is_used(city: FakeCity, clip: Path) -> None:
    with_images(city, colour())
    for params in ({}, {"pretrained": str(clip)}):
        assert encode(city, **params)[0].model.config._attn_implementation == "sdpa"


def test_unknown_sources_and_heads_that_do_not_divide_the_width_are_refused(city: FakeCity) -> None:
    with pytest.raises(UserError, match=r"modalities\.sv: .*'sv'.*'svi'"):
        ViT(ViT.Params(), city, "sv", 8)
    with pytest.raises(ValueError, match="not a multiple"):
        ViT.Params(hidden_size=30, heads=4)


def refusal(city: FakeCity, folder: Path | str) -> str:
    with pytest.raises(UserError) as caught:
        encode(with_images(city, colour()), pretrained=str(folder))
    (problem,) = caught.value.problems
    assert problem.key == "modalities.svi.pretrained"
    return str(problem)


def test_missing_incomplete_and_damaged_checkpoints_are_refused(city: FakeCity, clip: Path, tmp_path: Path) -> None:
    assert "no folder" in refusal(city, tmp_path / "absent")
    (tmp_path / "empty").mkdir()
    assert "config.json" in refusal(city, tmp_path / "empty")

    weights = clip / "model.safetensors"
    content = weights.read_bytes()
    weights.write_bytes(content[:-100])
    assert "cannot be read" in refusal(city, clip)
    weights.rename(clip / "pytorch_model.bin")
    assert "other than tensors" in refusal(city, clip)
    (clip / "pytorch_model.bin").unlink()
    assert "model.safetensors" in refusal(city, clip)
    weights.write_bytes(content)
    (clip / "config.json").write_text("{")
    assert "cannot be read" in refusal(city, clip)


def test_checkpoint_with_missing_weights_is_refused(city: FakeCity, clip: Path) -> None:
    weights = load_file(clip / "model.safetensors")
    weights.pop("vision_model.post_layernorm.weight")
    save_file(weights, clip / "model.safetensors", metadata={"format": "pt"})
    assert "lacks 1 weights" in refusal(city, clip) and "post_layernorm" in refusal(city, clip)


def test_checkpoint_of_another_kind_is_refused(city: FakeCity, tmp_path: Path) -> None:
    BertModel(BertConfig(vocab_size=20, **SMALL)).save_pretrained(tmp_path / "bert")
    assert "'bert' is not a vision model" in refusal(city, tmp_path / "bert")


def test_augmented_pixels_come_from_the_image(city: FakeCity) -> None:
    images = torch.from_numpy(colour(6, 2, (12, 20)))
    for style in ("overhead", "street"):
        one, two = (augment(images, style, torch.Generator().manual_seed(4)) for _ in range(2))
        assert torch.equal(one, two) and one.dtype == torch.uint8 and one.shape == images.shape
        assert not torch.equal(one, images)
        assert all(set(a.flatten().tolist()) <= set(i.flatten().tolist()) for a, i in zip(one, images, strict=True))
    assert augment(images, "none", torch.Generator()) is images


def test_augmentation_without_crops_gives_eight_symmetries_overhead_and_mirrors_on_streets() -> None:
    image = torch.arange(25.0).view(1, 1, 5, 5)
    seen = augment(image.expand(200, 1, 5, 5), "overhead", torch.Generator().manual_seed(0), smallest=1.0)
    turns = [torch.rot90(image[0], k, (1, 2)) for k in range(4)]
    expected = {tuple(t.flatten().tolist()) for turn in turns for t in (turn, turn.flip(2))}
    assert {tuple(one.flatten().tolist()) for one in seen} == expected
    image = torch.arange(12.0).view(1, 1, 3, 4)
    seen = augment(image.expand(50, 1, 3, 4), "street", torch.Generator().manual_seed(0), smallest=1.0)
    expected = {tuple(t.flatten().tolist()) for t in (image, image.flip(3))}
    assert {tuple(one.flatten().tolist()) for one in seen} == expected


def test_tokens_are_the_final_states_with_the_vector_first(city: FakeCity, clip: Path) -> None:
    pixels = colour()
    encoder, vectors = encode(with_images(city, pixels), pretrained=str(clip))
    model = CLIPModel.from_pretrained(clip).eval().vision_model
    with torch.no_grad():
        encoded = encoder.tokens(encoder.load(np.arange(3)))
        direct = model.post_layernorm(model(normalised(pixels)).last_hidden_state)
    torch.testing.assert_close(encoded.tokens, direct, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(encoded.vector, vectors)
    assert encoded.present.all() and encoded.present.shape == (3, 5)
