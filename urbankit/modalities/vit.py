"""Images as a modality: a vision transformer (eq. 2-7), from scratch or pre-trained, of any bands and size."""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
import torch
from pydantic import Field, model_validator
from torch import Tensor
from torch.nn import functional
from transformers import ViTConfig, ViTModel

from urbankit.city.city import City
from urbankit.city.raw_features import RawSource, images
from urbankit.modalities.augment import Style, augment
from urbankit.modalities.base import Tokens
from urbankit.modalities.pretrained.backbone import TransformerEncoder, TransformerParams
from urbankit.modalities.pretrained.checkpoints import checkpoint_folder
from urbankit.modalities.pretrained.vision import (
    Bands,
    Preprocessing,
    adapt_bands,
    load_vision,
    normalised_states,
    vector_and_states,
)
from urbankit.utils.errors import suggest
from urbankit.utils.files import hash_json

UNPREPARED = (
    "the checkpoint has no preprocessor_config.json, so that images are normalised by the city's own band means and "
    "resampled to the model's own size"
)


class ViT(TransformerEncoder[TransformerParams, Tensor]):
    """A vision transformer of the library transformers: ViT, CLIP, SigLIP, DINOv2 or DINOv3; from scratch a ViT.

    A vector is the final [CLS] state of an image (eq. 7), of SigLIP the output of its pooling head.

    Pixels are scaled (uint8 to 0 to 1) and normalised by the source's band means and deviations, or by the
    checkpoint's own where it has them and reads the image's three uint8 bands. A missing pixel (NaN) becomes its band's
    mean. Images of another size than the model's are resampled as a whole, without cropping, by the checkpoint's filter
    where it names one (in floating point, not rounded to whole grey levels again).

    A CLIP or SigLIP checkpoint's projection is the modality's where `dim` is its width, and a new one otherwise.
    """

    statistics = ("mean", "std")

    class Params(TransformerParams):
        source: str | None = Field(None, description="The city's image source; the default is the modality's name.")
        pretrained: str | None = Field(
            None,
            description="A checkpoint of ViT, CLIP, SigLIP, DINOv2 or DINOv3 (ViT): a local folder or a name on the "
            "Hugging Face hub. Decides patch_size, hidden_size, layers, heads and mlp_ratio.",
            json_schema_extra={"source": "section 4: CLIP ViT-B/32", "local_path": True},
        )
        patch_size: int = Field(
            8, ge=1, description="Side of a patch in pixels.", json_schema_extra={"source": "eq. 2"}
        )
        hidden_size: int = Field(64, ge=1, description="Width of the transformer.")
        layers: int = Field(4, ge=1, description="Transformer layers.", json_schema_extra={"source": "eq. 3, 4"})
        heads: int = Field(4, ge=1, description="Attention heads per layer.", json_schema_extra={"source": "eq. 5"})
        mlp_ratio: float = Field(2.0, gt=0, description="Width of each layer's perceptron relative to hidden_size.")
        dropout: float = Field(0.0, ge=0, lt=1, description="Dropout in training, from scratch only.")
        image_size: Annotated[int, Field(ge=1)] | tuple[int, int] | None = Field(
            None,
            description="Side, or height and width, of the model's input. Default: what the checkpoint's "
            "preprocessor_config.json says, or its own; from scratch the source's, rounded to whole patches.",
        )
        bands: Bands = Field(
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

    params: Params
    mean: Tensor
    std: Tensor

    def __init__(self, params: ViT.Params, city: City, modality: str, dim: int) -> None:
        super().__init__(params, city, modality, dim)
        self.images = city.images(params.source or modality)
        mean, std = np.asarray(self.images.band_mean), np.asarray(self.images.band_std)
        projection, self._bicubic = None, False
        if params.pretrained is None:
            self.model, self.size = _from_scratch(params, self.images.bands, self.images.size)
        else:
            key = f"modalities.{modality}.pretrained"
            self._weights = folder = checkpoint_folder(params.pretrained, key, params.revision)
            self.model, projection = load_vision(folder, key)
            preprocessing = Preprocessing.of(folder, key)
            if not preprocessing.stated:
                self.notes = [UNPREPARED]
            self.size = _pair(params.image_size or preprocessing.size or self.model.config.image_size)
            self._bicubic = preprocessing.bicubic and self.size != _pair(self.images.size)
            channels = self.model.config.num_channels
            if params.bands == "first3":
                mean, std = mean[:channels], std[:channels]
            normalisation = preprocessing.normalisation
            if len(mean) == channels == 3 and np.dtype(self.images.dtype) == np.uint8 and normalisation is not None:
                mean, std = normalisation
            adapt_bands(
                self.model, self.images.bands, params.bands, params.validity_band, f"modalities.{modality}.bands"
            )
        self._interpolate = self.size != _pair(self.model.config.image_size)
        std = np.where(np.isfinite(std) & (std > 0), std, 1.0)
        self.register_buffer("mean", _per_band(np.nan_to_num(mean)))
        self.register_buffer("std", _per_band(std))
        fits = projection is not None and projection.out_features == dim
        self.connect(self.model.config.hidden_size, projection if fits else None)

    @classmethod
    def requires(cls, params: Any, city: City, modality: str) -> str | None:
        name, sources = params.source or modality, city.image_sources
        return None if name in sources else f"the city has no image source '{name}'.{suggest(name, sources)}"

    @classmethod
    def raw_features(cls, params: Any, city: City, modality: str) -> list[RawSource]:
        return images(city, params.source or modality)

    def observations(self, of: str | None = None) -> np.ndarray:
        return np.asarray(self.images.region)

    def load(self, rows: np.ndarray, of: str | None = None) -> Tensor:
        """Images as they are stored: uint8 or float32 (NaN missing) Tensor[n, bands, h, w]."""
        return torch.from_numpy(self.images.read(rows))

    def augment(self, batch: Tensor, generator: torch.Generator) -> Tensor:
        return augment(batch, self.params.augment, generator)

    def forward(self, batch: Tensor) -> Tensor:
        return vector_and_states(self.model, self._pixels(batch), self._interpolate)[0]

    def tokens(self, batch: Tensor) -> Tokens:
        """The final states: [CLS] first where the model has one, then its registers, then the patches by rows."""
        vector, states = vector_and_states(self.model, self._pixels(batch), self._interpolate)
        states = normalised_states(self.model, states)
        return Tokens(vector, states, torch.ones(states.shape[:2], dtype=torch.bool, device=states.device))

    def fingerprint(self, of: str | None = None) -> str:
        return hash_json([self.images.content_hash, _pair(self.images.size)])

    def computed_by(self) -> dict[str, Any]:
        return {**super().computed_by(), "size": self.size, "filter": "bicubic" if self._bicubic else "bilinear"}

    def _pixels(self, batch: Tensor) -> Tensor:
        """The model's input, float32 Tensor[n, bands (+ 1), height, width]."""
        is_uint8 = batch.dtype == torch.uint8
        scaled = batch.float() / 255 if is_uint8 else batch.float()
        x = (scaled[:, : len(self.mean)] - self.mean) / self.std
        missing = None if is_uint8 else x.isnan()
        if missing is not None:
            x = x.masked_fill(missing, 0.0)
        if self.params.validity_band:
            valid = torch.ones_like(x[:, :1]) if missing is None else 1 - missing.float().mean(1, keepdim=True)
            x = torch.cat([x, valid], dim=1)
        if x.shape[-2:] == self.size:
            return x
        mode = "bicubic" if self._bicubic else "bilinear"
        x = functional.interpolate(x, self.size, mode=mode, antialias=True, align_corners=False)
        if self._bicubic and is_uint8:  # a cubic filter overshoots black and white
            bands = len(self.mean)
            x[:, :bands] = x[:, :bands].clamp(-self.mean / self.std, (1 - self.mean) / self.std)
        return x


def _from_scratch(params: ViT.Params, bands: int, size: tuple[int, int] | int) -> tuple[ViTModel, tuple[int, int]]:
    patch = params.patch_size
    height, width = (max(1, round(side / patch)) * patch for side in _pair(params.image_size or size))
    config = ViTConfig(  # type: ignore[call-arg]  # attn_implementation is a keyword of its base class
        image_size=(height, width), patch_size=patch, num_channels=bands + params.validity_band,
        hidden_size=params.hidden_size, num_hidden_layers=params.layers, num_attention_heads=params.heads,
        intermediate_size=round(params.mlp_ratio * params.hidden_size), hidden_dropout_prob=params.dropout,
        attention_probs_dropout_prob=params.dropout, attn_implementation="sdpa",
    )  # fmt: skip
    return ViTModel(config, add_pooling_layer=False), (height, width)


def _per_band(values: np.ndarray) -> Tensor:
    return torch.as_tensor(values, dtype=torch.float32).view(-1, 1, 1)


def _pair(size: int | tuple[int, int]) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else (int(size[0]), int(size[1]))
