"""Images as a modality: a vision transformer (eq. 2-7), from scratch or pre-trained, of any bands and size."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional

from urbankit.errors import Problem, UserError, closest
from urbankit.files import hash_json
from urbankit.modalities.augment import Style, augment
from urbankit.modalities.base import EncoderParams, ModalityEncoder, Tokens
from urbankit.modalities.checkpoints import checkpoint_folder, load_config, load_model

if TYPE_CHECKING:
    from urbankit.city.city import City


class ViT(ModalityEncoder):
    """transformers' ViT or CLIP vision model; a vector is the final [CLS] state of an image (eq. 7).

    Pixels are scaled (uint8 to 0 to 1) and normalised by the source's band means and deviations, or by the
    checkpoint's own where it has them and reads the image's three uint8 bands. A missing pixel (NaN) becomes its band's
    mean. Images of another size than the model's are resampled as a whole, without cropping.

    A CLIP checkpoint's projection is the modality's where `dim` is its width, and a new one otherwise.
    """

    statistics = ("mean", "std")

    class Params(EncoderParams):
        source: str | None = Field(None, description="The city's image source; the default is the modality's name.")
        pretrained: str | None = Field(
            None,
            description="A ViT or CLIP checkpoint: a local folder or a name on the Hugging Face hub. Decides "
            "patch_size, hidden_size, layers, heads and mlp_ratio.",
            json_schema_extra={"source": "section 4: CLIP ViT-B/32"},
        )
        patch_size: int = Field(
            8, ge=1, description="Side of a patch in pixels.", json_schema_extra={"source": "eq. 2"}
        )
        hidden_size: int = Field(64, ge=1, description="Width of the transformer.")
        layers: int = Field(4, ge=1, description="Transformer layers.", json_schema_extra={"source": "eq. 3, 4"})
        heads: int = Field(4, ge=1, description="Attention heads a layer.", json_schema_extra={"source": "eq. 5"})
        mlp_ratio: float = Field(2.0, gt=0, description="Width of each layer's perceptron relative to hidden_size.")
        dropout: float = Field(0.0, ge=0, lt=1, description="Dropout in training, from scratch only.")
        image_size: Annotated[int, Field(ge=1)] | tuple[int, int] | None = Field(
            None,
            description="Side, or height and width, of the model's input. Default: the checkpoint's, or the source's "
            "rounded to whole patches.",
        )
        bands: Literal["mean", "first3", "inflate"] = Field(
            "mean",
            description="How a checkpoint reads another number of bands than its own: every band through the mean of "
            "its colour kernels, the first bands alone, or the kernels repeated over the bands. Kernels are scaled so "
            "that the sum over bands keeps its size.",
        )
        validity_band: bool = Field(
            False, description="Add a band that is the share of a pixel's bands that are present (not NaN)."
        )
        augment: Style = Field(
            "none",
            description="In training: overhead (flips, quarter turns, crops), street (left-right flips, crops), none.",
        )

        @model_validator(mode="after")
        def _whole_heads(self) -> ViT.Params:
            if self.pretrained is None and self.hidden_size % self.heads:
                raise ValueError(f"hidden_size {self.hidden_size} is not a multiple of heads {self.heads}")
            return self

    def __init__(self, params: ViT.Params, city: City, modality: str, dim: int) -> None:
        super().__init__(params, city, modality, dim)
        self.images = city.images(params.source or modality)
        mean, std = np.asarray(self.images.band_mean), np.asarray(self.images.band_std)
        projection = None
        if params.pretrained is None:
            self.model, self.size = _from_scratch(params, self.images.bands, self.images.size)
        else:
            key = f"modalities.{modality}.pretrained"
            folder = checkpoint_folder(params.pretrained, key)
            self.model, projection = _from_checkpoint(folder, key)
            self.size = _pair(params.image_size or self.model.config.image_size)
            own = self.model.config.num_channels
            if params.bands == "first3":
                mean, std = mean[:own], std[:own]
            if len(mean) == own == 3 and np.dtype(self.images.dtype) == np.uint8:
                mean, std = _processor_statistics(folder, mean, std)
            _adapt_bands(self.model, self.images.bands, params, f"modalities.{modality}.bands")
        self._interpolate = self.size != _pair(self.model.config.image_size)
        std = np.where(np.isfinite(std) & (std > 0), std, 1.0)
        self.register_buffer("mean", _per_band(np.nan_to_num(mean)))
        self.register_buffer("std", _per_band(std))
        fits = projection is not None and projection.out_features == dim
        self.connect(self.model.config.hidden_size, projection if fits else None)

    @classmethod
    def requires(cls, params: Any, city: City, modality: str) -> str | None:
        name, known = params.source or modality, city.image_sources
        return None if name in known else f"the city has no image source '{name}'.{closest(name, known)}"

    def observations(self, of: str | None = None) -> np.ndarray:
        return np.asarray(self.images.region)

    def load(self, rows: np.ndarray, of: str | None = None) -> Tensor:
        """Images as they are stored: uint8 or float32 (NaN missing) Tensor[n, bands, h, w]."""
        return torch.from_numpy(self.images.read(rows))

    def augment(self, batch: Tensor, generator: torch.Generator) -> Tensor:
        return augment(batch, self.params.augment, generator)

    def forward(self, batch: Tensor) -> Tensor:
        return self.tokens(batch).vector

    def tokens(self, batch: Tensor) -> Tokens:
        """The final states, [CLS] first and then the patches by rows."""
        states = self.model(self._pixels(batch), interpolate_pos_encoding=self._interpolate).last_hidden_state
        if hasattr(self.model, "post_layernorm"):  # CLIP leaves the last normalisation to its pooling
            states = self.model.post_layernorm(states)
        return Tokens(states[:, 0], states, torch.ones(states.shape[:2], dtype=torch.bool, device=states.device))

    def fingerprint(self, of: str | None = None) -> str:
        return hash_json([self.images.content_hash, _pair(self.images.size)])

    def _pixels(self, batch: Tensor) -> Tensor:
        """The model's input, float32 Tensor[n, bands (+ 1), height, width]."""
        scaled = batch.float() / 255 if batch.dtype == torch.uint8 else batch.float()
        x = (scaled[:, : len(self.mean)] - self.mean) / self.std
        missing = x.isnan()
        x = x.masked_fill(missing, 0.0)
        if self.params.validity_band:
            x = torch.cat([x, 1 - missing.float().mean(1, keepdim=True)], dim=1)
        if x.shape[-2:] != self.size:
            x = functional.interpolate(x, self.size, mode="bilinear", antialias=True, align_corners=False)
        return x


def _from_scratch(params: ViT.Params, bands: int, size: tuple[int, int] | int) -> tuple[nn.Module, tuple[int, int]]:
    from transformers import ViTConfig, ViTModel

    patch = params.patch_size
    height, width = (max(1, round(side / patch)) * patch for side in _pair(params.image_size or size))
    config = ViTConfig(
        image_size=(height, width), patch_size=patch, num_channels=bands + params.validity_band,
        hidden_size=params.hidden_size, num_hidden_layers=params.layers, num_attention_heads=params.heads,
        intermediate_size=round(params.mlp_ratio * params.hidden_size), hidden_dropout_prob=params.dropout,
        attention_probs_dropout_prob=params.dropout, attn_implementation="sdpa",
    )  # fmt: skip
    return ViTModel(config, add_pooling_layer=False), (height, width)


def _from_checkpoint(folder: Path, key: str) -> tuple[nn.Module, nn.Linear | None]:
    """The vision model in `folder`, and CLIP's projection where it has one."""
    from transformers import CLIPVisionModel, CLIPVisionModelWithProjection, ViTModel

    config = load_config(folder, key)
    if config.model_type == "vit":
        return load_model(ViTModel, folder, key, add_pooling_layer=False), None
    if config.model_type == "clip" or "CLIPVisionModelWithProjection" in (config.architectures or []):
        vision = getattr(config, "vision_config", config)
        vision.projection_dim = config.projection_dim
        model = load_model(CLIPVisionModelWithProjection, folder, key, config=vision)
        return model.vision_model, model.visual_projection
    if config.model_type == "clip_vision_model":
        return load_model(CLIPVisionModel, folder, key), None
    message = f"a checkpoint of type '{config.model_type}' is not a vision model that vit reads (vit, clip)"
    raise UserError(Problem(message, folder, key=key))


def _adapt_bands(model: nn.Module, bands: int, params: ViT.Params, key: str) -> None:
    """Replace the patch embedding by one that reads `bands` bands, and the validity band, at first without effect."""
    embeddings = model.embeddings
    old = (
        embeddings.patch_embedding if hasattr(embeddings, "patch_embedding") else embeddings.patch_embeddings.projection
    )
    own = old.in_channels
    kernels = old.weight.detach()
    if bands != own:
        if params.bands == "first3" and bands < own:
            raise UserError(Problem(f"the images have {bands} bands, not {own}: use 'mean' or 'inflate'", key=key))
        if params.bands == "mean":
            kernels = kernels.mean(1, keepdim=True).expand(-1, bands, -1, -1) * own / bands
        elif params.bands == "inflate":
            kernels = kernels[:, torch.arange(bands) % own] * own / bands
    if params.validity_band:
        kernels = torch.cat([kernels, torch.zeros_like(kernels[:, :1])], dim=1)
    if kernels.shape[1] != own:
        new = nn.Conv2d(kernels.shape[1], old.out_channels, old.kernel_size, old.stride, bias=old.bias is not None)
        with torch.no_grad():
            new.weight.copy_(kernels)
            if old.bias is not None:
                new.bias.copy_(old.bias)
        if hasattr(embeddings, "patch_embedding"):
            embeddings.patch_embedding = new
        else:
            embeddings.patch_embeddings.projection = new
            embeddings.patch_embeddings.num_channels = kernels.shape[1]


def _processor_statistics(folder: Path, mean: np.ndarray, std: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The means and deviations in the checkpoint's preprocessor_config.json, where it has them."""
    path = folder / "preprocessor_config.json"
    own = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return np.asarray(own.get("image_mean", mean), float), np.asarray(own.get("image_std", std), float)


def _per_band(values: np.ndarray) -> Tensor:
    return torch.as_tensor(values, dtype=torch.float32).view(-1, 1, 1)


def _pair(size: int | tuple[int, int]) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else (int(size[0]), int(size[1]))
