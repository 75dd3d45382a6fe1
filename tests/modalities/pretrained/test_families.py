"""Every family of checkpoints, written by transformers and loaded from disk: the bits of a direct call."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers as hf
from helpers.checkpoints import (
    IMAGE,
    IMAGES,
    PREPROCESSOR,
    SMALL,
    clip,
    save_tokenizer,
    saved,
    siglip,
    with_images,
)
from helpers.fake_city import FakeCity
from torch import Tensor, nn

from urbankit.modalities.pretrained.vision import Preprocessing
from urbankit.modalities.text import Text
from urbankit.modalities.vit import ViT
from urbankit.utils.errors import UserError


def images(city: FakeCity, folder: Path, dim: int = 16, **params: Any) -> tuple[ViT, Tensor]:
    encoder = ViT(ViT.Params(pretrained=str(folder), **params), city, "svi", dim).eval()
    with torch.no_grad():
        return encoder, encoder(encoder.load(np.arange(3)))


@pytest.mark.parametrize("family", IMAGES)
def test_image_vectors_equal_a_direct_call_bit_for_bit(city: FakeCity, tmp_path: Path, family: str) -> None:
    make, direct = IMAGES[family]
    model, pixels = saved(make, tmp_path), with_images(city)
    encoder, vectors = images(city, tmp_path)
    mean, std = (torch.tensor(PREPROCESSOR[f"image_{name}"]).view(3, 1, 1) for name in ("mean", "std"))
    with torch.no_grad():
        expected = direct(model, (torch.from_numpy(pixels).float() / 255 - mean) / std)
    assert torch.equal(vectors, expected) and vectors.shape == (3, encoder.width)
    encoded = encoder.tokens(encoder.load(np.arange(3)))
    assert torch.equal(encoded.vector, expected) and encoded.tokens.shape[2] == encoder.width


@pytest.mark.parametrize("family", ["siglip", "dinov3", "dinov2", "vit"])
@pytest.mark.parametrize("bands", [1, 2, 4])
def test_every_family_supports_the_bands_parameter(city: FakeCity, tmp_path: Path, family: str, bands: int) -> None:
    saved(IMAGES[family][0], tmp_path)
    with_images(city, bands)
    for rule in ("mean", "inflate"):
        assert images(city, tmp_path, bands=rule)[1].isfinite().all()
    if bands < 3:
        with pytest.raises(UserError, match=r"modalities\.svi\.bands: the images have . bands.*'mean' or 'inflate'"):
            images(city, tmp_path, bands="first3")
    else:
        assert images(city, tmp_path, bands="first3")[1].isfinite().all()


def test_images_are_resampled_as_the_processor_does(city: FakeCity, tmp_path: Path) -> None:
    """Against Pillow's filter on whole grey levels, from which ours differs by their rounding alone."""
    from PIL import Image

    saved(clip, tmp_path)
    pixels = with_images(city, size=(40, 56))
    encoder, _ = images(city, tmp_path)
    resized = np.stack([np.asarray(Image.fromarray(one.transpose(1, 2, 0)).resize((16, 16), 3)) for one in pixels])
    mean, std = np.array(PREPROCESSOR["image_mean"]), np.array(PREPROCESSOR["image_std"])
    ours = encoder.pixels(encoder.load(np.arange(3))).numpy().transpose(0, 2, 3, 1) * std + mean
    np.testing.assert_allclose(ours, resized / 255, atol=1.5 / 255)


@pytest.mark.parametrize(
    ("settings", "size", "mean"),
    [
        (
            {"size": {"shortest_edge": 20}, "do_center_crop": True, "crop_size": {"height": 16, "width": 24}},
            (16, 24),
            0.4,
        ),
        ({"size": {"shortest_edge": 20}}, (20, 20), 0.4),
        ({"size": 24, "do_normalize": False}, (24, 24), 0.0),
        ({"do_resize": False}, None, 0.4),
        ({"rescale_factor": 2 / 255}, (16, 16), 0.2),
    ],
)
def test_preprocessor_settings_are_read(tmp_path: Path, settings: dict, size: tuple | None, mean: float) -> None:
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(PREPROCESSOR | settings))
    preprocessing = Preprocessing.of(tmp_path, "key")
    assert preprocessing.size == size and preprocessing.mean[0] == pytest.approx(mean) and preprocessing.bicubic


def test_processor_config_of_the_newer_format_is_read(tmp_path: Path) -> None:
    (tmp_path / "processor_config.json").write_text(json.dumps({"image_processor": PREPROCESSOR}))
    assert Preprocessing.of(tmp_path, "key").size == (16, 16)
    assert Preprocessing.of(tmp_path / "none", "key").mean is None


@pytest.mark.parametrize(
    "settings", [[], {"size": "big"}, {"size": [16, 16]}, {"image_mean": "grey"}, {"rescale_factor": "a"}]
)
def test_a_malformed_preprocessor_is_refused(tmp_path: Path, settings: Any) -> None:
    wrong = PREPROCESSOR | settings if isinstance(settings, dict) else settings
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(wrong))
    with pytest.raises(UserError, match=r"preprocessor_config\.json: "):
        Preprocessing.of(tmp_path, "key")


def test_a_checkpoint_without_a_preprocessor_is_noted(city: FakeCity, tmp_path: Path) -> None:
    saved(clip, tmp_path)
    with_images(city)
    assert not images(city, tmp_path)[0].notes
    (tmp_path / "preprocessor_config.json").unlink()
    (note,) = images(city, tmp_path)[0].notes
    assert "no preprocessor_config.json" in note


def test_siglips_projection_is_the_identity_if_dim_is_its_width(city: FakeCity, tmp_path: Path) -> None:
    saved(siglip, tmp_path)
    save_tokenizer(tmp_path)
    with_images(city)
    encoder, vectors = images(city, tmp_path)
    assert torch.equal(encoder.project(vectors), vectors)
    text = Text(Text.Params(pretrained=str(tmp_path)), city, "text", 16)
    assert torch.equal(text.project(vectors), vectors)


@pytest.mark.parametrize("kind", ["naflex", "text", "no head"])
def test_checkpoint_of_the_wrong_kind_is_refused_with_the_right_encoder(
    city: FakeCity, tmp_path: Path, kind: str
) -> None:
    make, says = {
        "naflex": (
            lambda: hf.Siglip2VisionModel(hf.Siglip2VisionConfig(**SMALL, patch_size=8, num_patches=4)),
            "not read|not a vision model",
        ),
        "text": (lambda: hf.BertModel(hf.BertConfig(vocab_size=20, **SMALL)), "'bert' is not a vision model.*siglip"),
        "no head": (
            lambda: hf.SiglipVisionModel(hf.SiglipVisionConfig(**IMAGE, vision_use_head=False)),
            "no pooling head",
        ),
    }[kind]
    saved(make, tmp_path)
    with_images(city)
    with pytest.raises(UserError, match=rf"modalities\.svi\.pretrained: .*({says})"):
        images(city, tmp_path)
    vision = tmp_path / "vision"
    saved(IMAGES["dinov2"][0], vision)
    with pytest.raises(UserError, match="'dinov2' is not a text model"):
        Text(Text.Params(pretrained=str(vision)), city, "text", 8)


# Captions


def texts(city: FakeCity, folder: Path, **params: Any) -> tuple[Text, Tensor]:
    encoder = Text(Text.Params(pretrained=str(folder), **params), city, "text", 8).eval()
    with torch.no_grad():
        return encoder, encoder(encoder.load(np.arange(len(encoder.observations("rsi"))), "rsi"))


def direct_tokens(city: FakeCity, folder: Path, **options: Any) -> dict[str, Tensor]:
    tokenizer = hf.AutoTokenizer.from_pretrained(folder)
    return tokenizer(city.captions("rsi")["text"].tolist(), return_tensors="pt", truncation=True, **options)


def test_clip_caption_vectors_equal_a_direct_call(city: FakeCity, tmp_path: Path) -> None:
    model = saved(clip, tmp_path)
    save_tokenizer(tmp_path)
    encoder, vectors = texts(city, tmp_path)
    ids = direct_tokens(city, tmp_path, padding=True, max_length=77)["input_ids"]
    with torch.no_grad():
        direct = model.text_model(ids).pooler_output
        assert torch.equal(vectors, direct)
        torch.testing.assert_close(encoder.project(vectors), model.text_projection(direct), atol=1e-5, rtol=1e-5)


def test_siglip_caption_vectors_equal_a_direct_call(city: FakeCity, tmp_path: Path) -> None:
    """Padded to the only length that it knows, and without a mask, as it was trained."""
    model = saved(siglip, tmp_path)
    save_tokenizer(tmp_path)
    encoder, vectors = texts(city, tmp_path)
    ids = direct_tokens(city, tmp_path, padding="max_length", max_length=64)["input_ids"]
    with torch.no_grad():
        assert torch.equal(vectors, model.get_text_features(input_ids=ids).pooler_output)
    lengths = encoder.load(np.arange(3), "rsi")["length"]
    assert encoder.load(np.arange(3), "rsi")["ids"].shape == (3, 64) and (lengths < 64).all()
    with pytest.raises(UserError, match=r"modalities\.text\.pooling: .*remove `pooling`"):
        texts(city, tmp_path, pooling="mean")


POOLING = {"mean_tokens": "mean", "cls_token": "start", "lasttoken": "end"}


@pytest.mark.parametrize("normalised", [False, True])
@pytest.mark.parametrize("mode", POOLING)
def test_sentence_bert_caption_vectors_equal_a_direct_call(
    city: FakeCity, tmp_path: Path, mode: str, normalised: bool
) -> None:
    model = sentence_bert(tmp_path, {f"pooling_mode_{mode}": True, "pooling_mode_max_tokens": False}, normalised)
    _, vectors = texts(city, tmp_path)
    tokens = direct_tokens(city, tmp_path, padding=True, max_length=77)
    mask = tokens["attention_mask"]
    with torch.no_grad():
        states = model(tokens["input_ids"], attention_mask=mask).last_hidden_state
    expected = {
        "mean": (states * mask.unsqueeze(-1).float()).sum(1) / mask.unsqueeze(-1).float().sum(1),
        "start": states[:, 0],
        "end": states[torch.arange(len(mask)), mask.sum(1) - 1],
    }[POOLING[mode]]
    expected = torch.nn.functional.normalize(expected, p=2, dim=1) if normalised else expected
    assert torch.equal(vectors, expected)


def test_unsupported_pooling_can_be_replaced_by_a_parameter(city: FakeCity, tmp_path: Path) -> None:
    sentence_bert(tmp_path, {"pooling_mode_max_tokens": True}, True)
    with pytest.raises(UserError, match=r"1_Pooling.config\.json: .*: pooling by max_tokens is not supported"):
        texts(city, tmp_path)
    encoder, vectors = texts(city, tmp_path, pooling="mean")
    assert encoder.pooling == "mean" and torch.allclose(vectors.norm(dim=1), torch.ones(len(vectors)))
    modules = json.loads((tmp_path / "modules.json").read_text())
    (tmp_path / "modules.json").write_text(json.dumps([*modules, {"path": "3_Dense", "type": "st.models.Dense"}]))
    with pytest.raises(UserError, match="a module Dense"):
        texts(city, tmp_path, pooling="mean")


@pytest.mark.parametrize(
    ("file", "wrong"), [("modules.json", {}), ("modules.json", [1]), ("1_Pooling/config.json", [])]
)
def test_malformed_sentence_transformers_files_are_refused(
    city: FakeCity, tmp_path: Path, file: str, wrong: Any
) -> None:
    sentence_bert(tmp_path, {"pooling_mode_mean_tokens": True}, False)
    (tmp_path / file).write_text(json.dumps(wrong))
    with pytest.raises(UserError, match=file.replace(".", r"\.") + ": "):
        texts(city, tmp_path)


def sentence_bert(folder: Path, pooling: dict[str, bool], normalised: bool) -> nn.Module:
    model = saved(lambda: hf.BertModel(hf.BertConfig(**SMALL, vocab_size=300)), folder)
    save_tokenizer(folder)
    kinds = ["Transformer", "Pooling", *(["Normalize"] if normalised else [])]
    modules = [
        {"idx": i, "name": str(i), "path": f"{i}_{kind}" if i else "", "type": f"sentence_transformers.models.{kind}"}
        for i, kind in enumerate(kinds)
    ]
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(json.dumps({"word_embedding_dimension": 16} | pooling))
    return model
