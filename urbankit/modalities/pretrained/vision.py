"""Vision models of transformers in one form: loaded from a checkpoint, fitted to other bands, read with its recipe."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import transformers
from torch import Tensor, nn

from urbankit.modalities.pretrained.checkpoints import load_config, load_model, read_json_of
from urbankit.utils.errors import Problem, UserError

Bands = Literal["mean", "first3", "inflate"]

# The class that reads a vision model of each type; whole CLIP and SigLIP models hold one of these beside their text.
CLASSES = {
    "clip_vision_model": "CLIPVisionModel",
    "dinov2": "Dinov2Model",
    "dinov2_with_registers": "Dinov2WithRegistersModel",
    "dinov3_vit": "DINOv3ViTModel",
    "siglip_vision_model": "SiglipVisionModel",
    "vit": "ViTModel",
}
KNOWN = "clip, dinov2, dinov2_with_registers, dinov3_vit, siglip, vit"
# These have positions for one size of images and interpolate them for others only when told; DINO always does.
FIXED_SIZE = {"clip_vision_model", "siglip_vision_model", "vit"}
BICUBIC = 3  # as Pillow counts its filters


def load_vision(folder: Path, key: str) -> tuple[nn.Module, nn.Linear | None]:
    """The vision model in `folder` and its projection into the space that it shares with text, where it has one.

    SigLIP's vectors are in that space as they are, so its projection is the identity.

    Raises:
        UserError: the checkpoint is of another kind, or damaged.
    """
    config = load_config(folder, key)
    kind = config.model_type
    if kind == "clip" or "CLIPVisionModelWithProjection" in (config.architectures or []):
        vision = getattr(config, "vision_config", config)
        vision.projection_dim = config.projection_dim
        both = load_model(transformers.CLIPVisionModelWithProjection, folder, key, config=vision)
        return both.vision_model, both.visual_projection
    if kind in ("siglip", "siglip_vision_model"):
        vision = getattr(config, "vision_config", config)
        if not getattr(vision, "vision_use_head", True):
            message = "this SigLIP model has no pooling head, so that it gives no vector of an image; name one that has"
            raise UserError(Problem(message, folder, key=key))
        model = load_model(transformers.SiglipVisionModel, folder, key, config=vision)
        return model, identity(vision.hidden_size)
    if kind == "siglip2":
        message = (
            "SigLIP 2 checkpoints for images of any shape (naflex) are not read; name one of a fixed size, such as "
            "google/siglip2-base-patch16-224"
        )
        raise UserError(Problem(message, folder, key=key))
    if kind not in CLASSES:
        raise UserError(
            Problem(f"a checkpoint of type '{kind}' is not a vision model that vit reads ({KNOWN})", folder, key=key)
        )
    options = {"add_pooling_layer": False} if kind == "vit" else {}
    return load_model(getattr(transformers, CLASSES[kind]), folder, key, **options), None


def vector_and_states(model: nn.Module, pixels: Tensor, interpolate: bool) -> tuple[Tensor, Tensor]:
    """What a vision model makes of pixels Tensor[n, bands, h, w]: a vector of each, and the states of its parts.

    The vector Tensor[n, width] is the model's own pooled output, or its [CLS] state where it has none (ViT). The states
    Tensor[n, L, width] are those that the model returns. `interpolate` says that the size is not the model's own.
    """
    options = {"interpolate_pos_encoding": interpolate} if model.config.model_type in FIXED_SIZE else {}
    found = model(pixels, **options)
    states = found.last_hidden_state
    return states[:, 0] if found.pooler_output is None else found.pooler_output, states


def normalised_states(model: nn.Module, states: Tensor) -> Tensor:
    """States after the model's last normalisation, which CLIP alone leaves to its pooling."""
    return model.post_layernorm(states) if model.config.model_type == "clip_vision_model" else states


def adapt_bands(model: nn.Module, bands: int, rule: Bands, validity_band: bool, key: str) -> None:
    """Let `model` read `bands` bands by `rule`, and one for the validity of pixels, at first without effect.

    Raises `UserError` where the rule does not cover the number of bands.
    """
    path, old = next((path, module) for path, module in model.named_modules() if isinstance(module, nn.Conv2d))
    own = old.in_channels
    kernels = old.weight.detach()
    if bands != own:
        if rule == "first3" and bands < own:
            message = f"the images have {bands} bands and the checkpoint reads {own}: use 'mean' or 'inflate'"
            raise UserError(Problem(message, key=key))
        if rule == "mean":
            kernels = kernels.mean(1, keepdim=True).expand(-1, bands, -1, -1) * own / bands
        elif rule == "inflate":
            kernels = kernels[:, torch.arange(bands) % own] * own / bands
    if validity_band:
        kernels = torch.cat([kernels, torch.zeros_like(kernels[:, :1])], dim=1)
    if kernels.shape[1] == own:
        return
    new = nn.Conv2d(kernels.shape[1], old.out_channels, old.kernel_size, old.stride, bias=old.bias is not None)
    with torch.no_grad():
        new.weight.copy_(kernels)
        if old.bias is not None:
            new.bias.copy_(old.bias)
    holder = model.get_submodule(path.rpartition(".")[0])
    setattr(holder, path.rpartition(".")[2], new)
    if hasattr(holder, "num_channels"):
        holder.num_channels = kernels.shape[1]


@dataclass(frozen=True)
class Preprocessing:
    """How a checkpoint's images were prepared for it.

    `mean` and `std` are of pixels from 0 to 1, one a band; `size` is (height, width); None where nothing is said.
    `found` says whether the checkpoint says anything.
    """

    mean: np.ndarray | None = None
    std: np.ndarray | None = None
    size: tuple[int, int] | None = None
    bicubic: bool = False
    found: bool = True

    @classmethod
    def of(cls, folder: Path, key: str) -> Preprocessing:
        """As `preprocessor_config.json` says, or the image processor in `processor_config.json`.

        Raises `UserError` where that cannot be read.
        """
        name = "preprocessor_config.json"
        said = read_json_of(folder, name, key)
        if said is None:
            name = "processor_config.json"
            said = (read_json_of(folder, name, key) or {}).get("image_processor")
        if said is None:
            return cls(found=False)
        try:
            return cls._said(said)
        except (TypeError, ValueError, AttributeError) as error:
            message = f"does not say how images are prepared in the form of an image processor ({error})"
            raise UserError(Problem(message, folder / name, key=key)) from None

    @classmethod
    def _said(cls, said: Mapping[str, Any]) -> Preprocessing:
        mean, std = said.get("image_mean"), said.get("image_std")
        if said.get("do_normalize") is False:
            mean, std = [0.0] * 3, [1.0] * 3
        if mean is None or std is None:
            mean = std = None
        # Means are of pixels times this factor, which all but a few give as 1 / 255.
        factor = 255 * said.get("rescale_factor", 1 / 255)
        cropped = bool(said.get("do_center_crop")) and said.get("crop_size") is not None
        resized = said.get("do_resize", True)
        return cls(
            None if mean is None else np.asarray(mean, float) / factor,
            None if std is None else np.asarray(std, float) / factor,
            _height_width(said.get("crop_size" if cropped else "size")) if cropped or resized else None,
            said.get("resample") == BICUBIC,
        )


def identity(width: int) -> nn.Linear:
    """A linear layer that changes nothing, until it is trained."""
    layer = nn.Linear(width, width, bias=False)
    nn.init.eye_(layer.weight)
    return layer


def _height_width(size: int | Mapping[str, Any] | None) -> tuple[int, int] | None:
    if isinstance(size, Mapping):
        side = size.get("shortest_edge")
        height, width = size.get("height", side), size.get("width", side)
        return None if height is None or width is None else (int(height), int(width))
    return None if size is None else (int(size), int(size))
