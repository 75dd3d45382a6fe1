"""Vision models of the library transformers: loading, adapting to other bands, and the preprocessing of images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import transformers
from torch import Tensor, nn
from transformers import PreTrainedModel

from urbankit.modalities.pretrained.checkpoints import load_config, load_model, read_json_of
from urbankit.utils.errors import Problem, UserError

Bands = Literal["mean", "first3", "inflate"]

# By the type of a checkpoint, the class that reads it. Whole CLIP and SigLIP models hold one beside their text.
TRANSFORMERS = {
    "clip_vision_model": "CLIPVisionModel",
    "dinov2": "Dinov2Model",
    "dinov2_with_registers": "Dinov2WithRegistersModel",
    "dinov3_vit": "DINOv3ViTModel",
    "siglip_vision_model": "SiglipVisionModel",
    "vit": "ViTModel",
}
CONVOLUTIONAL = {"convnext": "ConvNextModel", "convnextv2": "ConvNextV2Model", "resnet": "ResNetModel"}
WITHIN = {"clip": "clip_vision_model", "siglip": "siglip_vision_model"}
# These have positions for one size of images and interpolate them for others only when told; DINO always does.
FIXED_SIZE = {"clip_vision_model", "siglip_vision_model", "vit"}
BICUBIC = 3  # as Pillow counts its filters


def load_vision(folder: Path, key: str, classes: Mapping[str, str]) -> tuple[PreTrainedModel, nn.Linear | None]:
    """Load the vision model in `folder`, and its projection into the space shared with text if it has one.

    `classes` are those of the encoder: `TRANSFORMERS` or `CONVOLUTIONAL`. SigLIP's vectors are in that space as they
    are, so its projection is the identity.

    Raises:
        UserError: the checkpoint is of another kind, or damaged.
    """
    config = load_config(folder, key)
    kind = config.model_type
    if kind == "siglip2" and "siglip_vision_model" in classes:
        message = (
            "SigLIP 2 checkpoints for images of any shape (naflex) are not read; name one of a fixed size, such as "
            "google/siglip2-base-patch16-224"
        )
        raise UserError(Problem(message, folder, key=key))
    if WITHIN.get(kind, kind) not in classes:
        raise UserError(Problem(_unread(kind, classes), folder, key=key))
    if kind == "clip" or "CLIPVisionModelWithProjection" in (config.architectures or []):
        vision = getattr(config, "vision_config", config)
        vision.projection_dim = config.projection_dim
        both = load_model(transformers.CLIPVisionModelWithProjection, folder, key, config=vision)
        assert isinstance(both, transformers.CLIPVisionModelWithProjection)
        return both.vision_model, both.visual_projection
    if kind in ("siglip", "siglip_vision_model"):
        vision = getattr(config, "vision_config", config)
        if not getattr(vision, "vision_use_head", True):
            message = "this SigLIP model has no pooling head, so that it gives no vector of an image; name one that has"
            raise UserError(Problem(message, folder, key=key))
        model = load_model(transformers.SiglipVisionModel, folder, key, config=vision)
        return model, identity(vision.hidden_size)
    options: dict[str, Any] = {"add_pooling_layer": False} if kind == "vit" else {}
    if kind in CONVOLUTIONAL:  # they have no attention, and refuse its fast form
        options = {"attn_implementation": "eager"}
    return load_model(getattr(transformers, classes[kind]), folder, key, **options), None


def _unread(kind: str, classes: Mapping[str, str]) -> str:
    """What is wrong with a checkpoint of the type `kind` for an encoder with these `classes`."""
    readers = {"vit": TRANSFORMERS, "convnet": CONVOLUTIONAL}
    other = next((name for name, types in readers.items() if WITHIN.get(kind, kind) in types), None)
    reads = ", ".join(name.removesuffix("_vision_model") for name in classes)
    advice = f"use the encoder '{other}', which reads it" if other else f"name one that it reads: {reads}"
    return f"a checkpoint of type '{kind}' is not a vision model that this encoder reads; {advice}"


def vector_and_states(model: PreTrainedModel, pixels: Tensor, interpolate: bool) -> tuple[Tensor, Tensor]:
    """Return the vectors and the token states of a vision model for pixels Tensor[n, bands, h, w].

    The vectors Tensor[n, width] are the model's pooled output, or its [CLS] states if it has none (ViT). The states
    Tensor[n, L, width] are those that the model returns, of a convolutional one the cells of its last layer by rows.
    `interpolate` is true for images of another size than the model's.
    """
    options = {"interpolate_pos_encoding": interpolate} if model.config.model_type in FIXED_SIZE else {}
    output = model(pixels, **options)
    states = output.last_hidden_state
    if states.ndim == 4:
        return output.pooler_output.flatten(1), states.flatten(2).transpose(1, 2)
    return states[:, 0] if output.pooler_output is None else output.pooler_output, states


def normalised_states(model: PreTrainedModel, states: Tensor) -> Tensor:
    """Return the states after the model's last normalisation, which CLIP applies only when it pools."""
    if model.config.model_type != "clip_vision_model":
        return states
    return model.get_submodule("post_layernorm")(states)


def token_mask(states: Tensor) -> Tensor:
    """Return the mask bool Tensor[n, L] of tokens Tensor[n, L, width] without padding."""
    return torch.ones(states.shape[:2], dtype=torch.bool, device=states.device)


def adapt_bands(model: nn.Module, bands: int, rule: Bands, validity_band: bool, key: str) -> None:
    """Change the first layer of `model` so that it reads `bands` bands by `rule`, and a band of validity if asked.

    The weights of the band of validity are 0 at first. Raises `UserError` if the rule does not fit the number of bands.
    """
    path, conv = next((path, module) for path, module in model.named_modules() if isinstance(module, nn.Conv2d))
    channels = conv.in_channels
    kernels = conv.weight.detach()
    if bands != channels:
        if rule == "first3" and bands < channels:
            message = f"the images have {bands} bands and the checkpoint reads {channels}: use 'mean' or 'inflate'"
            raise UserError(Problem(message, key=key))
        if rule == "mean":
            kernels = kernels.mean(1, keepdim=True).expand(-1, bands, -1, -1) * channels / bands
        elif rule == "inflate":
            kernels = kernels[:, torch.arange(bands) % channels] * channels / bands
    if validity_band:
        kernels = torch.cat([kernels, torch.zeros_like(kernels[:, :1])], dim=1)
    if kernels.shape[1] == channels:
        return
    # torch types the sizes of a kernel as a tuple of any length.
    size, stride, padding = conv.kernel_size, conv.stride, conv.padding
    new = nn.Conv2d(kernels.shape[1], conv.out_channels, size, stride, padding, bias=conv.bias is not None)  # type: ignore[arg-type]
    new.weight = nn.Parameter(kernels.clone())
    new.bias = conv.bias
    parent = model.get_submodule(path.rpartition(".")[0])
    setattr(parent, path.rpartition(".")[2], new)
    # Of the modules that the layer is in, some check the number of bands.
    for name, module in model.named_modules():
        if path.startswith(f"{name}.") and hasattr(module, "num_channels"):
            setattr(module, "num_channels", kernels.shape[1])  # noqa: B010 - torch types attributes as Tensor or Module


@dataclass(frozen=True)
class Preprocessing:
    """How images are prepared for a checkpoint.

    `mean` and `std` are of pixels from 0 to 1, one per band; `size` is (height, width). Each is None if the checkpoint
    does not state it. `stated` is false if the checkpoint has no file of the preprocessing.
    """

    mean: np.ndarray | None = None
    std: np.ndarray | None = None
    size: tuple[int, int] | None = None
    bicubic: bool = False
    stated: bool = True

    @property
    def normalisation(self) -> tuple[np.ndarray, np.ndarray] | None:
        """The mean and the standard deviation, or None."""
        return None if self.mean is None or self.std is None else (self.mean, self.std)

    @classmethod
    def of(cls, folder: Path, key: str) -> Preprocessing:
        """Read `preprocessor_config.json`, or else the image processor in `processor_config.json`.

        Raises `UserError` if the file cannot be read.
        """
        name = "preprocessor_config.json"
        settings = read_json_of(folder, name, key)
        if settings is None:
            name = "processor_config.json"
            settings = (read_json_of(folder, name, key) or {}).get("image_processor")
        if settings is None:
            return cls(stated=False)
        try:
            return cls._from_settings(settings)
        except (TypeError, ValueError, AttributeError) as error:
            message = f"is not a valid configuration of an image processor ({error})"
            raise UserError(Problem(message, folder / name, key=key)) from None

    @classmethod
    def _from_settings(cls, settings: Mapping[str, Any]) -> Preprocessing:
        mean, std = settings.get("image_mean"), settings.get("image_std")
        if settings.get("do_normalize") is False:
            mean, std = [0.0] * 3, [1.0] * 3
        if mean is None or std is None:
            mean = std = None
        # Means are of pixels times this factor, which all but a few give as 1 / 255.
        factor = 255 * settings.get("rescale_factor", 1 / 255)
        cropped = bool(settings.get("do_center_crop")) and settings.get("crop_size") is not None
        resized = settings.get("do_resize", True)
        return cls(
            None if mean is None else np.asarray(mean, float) / factor,
            None if std is None else np.asarray(std, float) / factor,
            _height_width(settings.get("crop_size" if cropped else "size")) if cropped or resized else None,
            settings.get("resample") == BICUBIC,
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
