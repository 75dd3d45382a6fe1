"""Small checkpoints of every family, in the layout of the Hugging Face hub."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers as hf
from helpers.fake_city import FakeCity, FakeImages
from torch import Tensor, nn

from urbankit.modalities.pretrained.tokenizer import END, PAD, SPECIAL, START, train_tokenizer

TEXTS = ["A dense block of towers.", "Low houses, wide road", "Water & trees along the harbour!"]
SMALL = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
IMAGE = SMALL | {"image_size": 16, "patch_size": 8}
WORDS = SMALL | {"vocab_size": 300, "pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3}
PREPROCESSOR = {
    "do_resize": True, "size": {"height": 16, "width": 16}, "resample": 3, "do_rescale": True,
    "rescale_factor": 1 / 255, "do_normalize": True, "image_mean": [0.4, 0.5, 0.45], "image_std": [0.2, 0.25, 0.3],
}  # fmt: skip


def clip() -> nn.Module:
    return hf.CLIPModel(hf.CLIPConfig(vision_config=IMAGE, text_config=WORDS, projection_dim=8))


def siglip() -> nn.Module:
    text = WORDS | {"max_position_embeddings": 64}
    return hf.SiglipModel(hf.SiglipConfig(vision_config=IMAGE, text_config=text))


def resnet() -> nn.Module:
    return hf.ResNetModel(hf.ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic"))


def convnext() -> nn.Module:
    return hf.ConvNextModel(hf.ConvNextConfig(hidden_sizes=[8, 16], depths=[1, 1], num_stages=2))


IMAGES: dict[str, tuple[Callable[[], nn.Module], Callable[[nn.Module, Tensor], Tensor]]] = {
    "clip": (clip, lambda model, x: model.vision_model(x).pooler_output),
    "clip with projection": (
        lambda: hf.CLIPVisionModelWithProjection(hf.CLIPVisionConfig(**IMAGE, projection_dim=8)),
        lambda model, x: model.vision_model(x).pooler_output,
    ),
    "siglip": (siglip, lambda model, x: model.get_image_features(pixel_values=x).pooler_output),
    "siglip vision": (
        lambda: hf.SiglipVisionModel(hf.SiglipVisionConfig(**IMAGE)),
        lambda model, x: model(x).pooler_output,
    ),
    "dinov2": (lambda: hf.Dinov2Model(hf.Dinov2Config(**IMAGE)), lambda model, x: model(x).pooler_output),
    "dinov2 registers": (
        lambda: hf.Dinov2WithRegistersModel(hf.Dinov2WithRegistersConfig(**IMAGE)),
        lambda model, x: model(x).pooler_output,
    ),
    "dinov3": (
        lambda: hf.DINOv3ViTModel(hf.DINOv3ViTConfig(**IMAGE, num_register_tokens=2)),
        lambda model, x: model(x).pooler_output,
    ),
    "vit": (lambda: hf.ViTModel(hf.ViTConfig(**IMAGE)), lambda model, x: model(x).last_hidden_state[:, 0]),
    "vit classifier": (
        lambda: hf.ViTForImageClassification(hf.ViTConfig(**IMAGE)),
        lambda model, x: model.vit(x).last_hidden_state[:, 0],
    ),
}


def with_images(city: FakeCity, bands: int = 3, size: tuple[int, int] = (16, 16)) -> np.ndarray:
    pixels = np.random.default_rng(2).integers(0, 256, (3, bands, *size), dtype=np.uint8)
    city._images["svi"] = FakeImages("svi", np.arange(3), pixels, city.lonlat[:3])
    return pixels


def saved(make: Callable[[], nn.Module], folder: Path, **preprocessor: Any) -> nn.Module:
    """A checkpoint in the hub's layout, and the model as transformers reads it back."""
    torch.manual_seed(5)
    model = make()
    model.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(PREPROCESSOR | preprocessor))
    return type(model).from_pretrained(folder).eval()


def save_tokenizer(folder: Path, **special: str) -> hf.PreTrainedTokenizerFast:
    learned = train_tokenizer(TEXTS, 300)
    tokenizer = hf.PreTrainedTokenizerFast(
        tokenizer_object=learned, pad_token=SPECIAL[PAD], bos_token=SPECIAL[START], eos_token=SPECIAL[END], **special
    )
    tokenizer.save_pretrained(folder)
    return tokenizer
