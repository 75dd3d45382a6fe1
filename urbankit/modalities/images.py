"""What all encoders of images share: reading, augmentation, pixels as a model reads them, and published weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional
from transformers import PreTrainedModel
from typing_extensions import TypeVar

from urbankit.city.city import City
from urbankit.city.raw_features import RawSource, images
from urbankit.modalities.augment import Style, augment
from urbankit.modalities.pretrained.backbone import CheckpointEncoder, CheckpointParams
from urbankit.modalities.pretrained.checkpoints import checkpoint_folder
from urbankit.modalities.pretrained.vision import Bands, Preprocessing, adapt_bands, load_vision
from urbankit.utils.errors import suggest
from urbankit.utils.files import hash_json

UNPREPARED = (
    "the checkpoint has no preprocessor_config.json, so that images are normalised by the city's own band means and "
    "resampled to the model's own size"
)


class ImageParams(CheckpointParams):
    """The parameters of every encoder of images."""

    source: str | None = Field(None, description="The city's image source; the default is the modality's name.")
    image_size: Annotated[int, Field(ge=1)] | tuple[int, int] | None = Field(
        None,
        description="Side, or height and width, of the model's input. Default: what the checkpoint's "
        "preprocessor_config.json says, or its own; from scratch the source's, for `vit` rounded to whole patches.",
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


I = TypeVar("I", bound=ImageParams, default=ImageParams)  # noqa: E741 - as all type parameters, one letter


class ImageEncoder(CheckpointEncoder[I, Tensor]):
    """An encoder of the images of one source, of any number of bands.

    Pixels are scaled (uint8 to 0 to 1) and normalised by the source's band means and deviations, or by the
    checkpoint's own where it has them and reads the image's three uint8 bands. A missing pixel (NaN) becomes its band's
    mean. Images of another size than the model's are resampled as a whole, without cropping, by the checkpoint's filter
    where it names one (in floating point, not rounded to whole grey levels again).

    Write one by setting up a model in `__init__`, calling `normalise` and then `connect`, and giving `forward`.
    """

    Params: ClassVar[type[Any]] = ImageParams
    statistics = ("mean", "std")
    classes: ClassVar[Mapping[str, str]]
    """By the type of a checkpoint, the class of transformers that reads it."""
    size: tuple[int, int]
    """Height and width of the model's input; set in `__init__`."""
    mean: Tensor
    std: Tensor
    _bicubic = False

    def __init__(self, params: I, city: City, modality: str, dim: int) -> None:
        super().__init__(params, city, modality, dim)
        self.images = city.images(params.source or modality)

    @classmethod
    def requires(cls, params: Any, city: City, modality: str) -> str | None:
        name, sources = params.source or modality, city.image_sources
        return None if name in sources else f"the city has no image source '{name}'.{suggest(name, sources)}"

    @classmethod
    def raw_features(cls, params: Any, city: City, modality: str) -> list[RawSource]:
        return images(city, params.source or modality)

    def load_pretrained(self, pretrained: str) -> tuple[PreTrainedModel, nn.Linear | None]:
        """Return the model of a checkpoint, changed to the source's bands, and its projection if it has one.

        Sets `size`, and calls `normalise` with the checkpoint's own preprocessing. Raises `UserError` if the checkpoint
        is of another kind, damaged, or does not fit the bands.
        """
        params, key = self.params, f"modalities.{self.modality}"
        self._weights = folder = checkpoint_folder(pretrained, f"{key}.pretrained", params.revision)
        model, projection = load_vision(folder, f"{key}.pretrained", self.classes)
        preprocessing = Preprocessing.of(folder, f"{key}.pretrained")
        if not preprocessing.stated:
            self.notes = [UNPREPARED]
        own_size = getattr(model.config, "image_size", self.images.size)
        self.size = pair(params.image_size or preprocessing.size or own_size)
        self._bicubic = preprocessing.bicubic and self.size != pair(self.images.size)
        channels = model.config.num_channels
        mean, std = self.band_statistics()
        if params.bands == "first3":
            mean, std = mean[:channels], std[:channels]
        normalisation = preprocessing.normalisation
        if len(mean) == channels == 3 and np.dtype(self.images.dtype) == np.uint8 and normalisation is not None:
            mean, std = normalisation
        adapt_bands(model, self.images.bands, params.bands, params.validity_band, f"{key}.bands")
        self.normalise(mean, std)
        return model, projection

    def band_statistics(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the mean and the standard deviation of each band of the source, [bands] each."""
        return np.asarray(self.images.band_mean), np.asarray(self.images.band_std)

    def normalise(self, mean: np.ndarray, std: np.ndarray) -> None:
        """Fix the numbers by which pixels are normalised, [bands] each; a constant band is only shifted."""
        std = np.where(np.isfinite(std) & (std > 0), std, 1.0)
        self.register_buffer("mean", _per_band(np.nan_to_num(mean)))
        self.register_buffer("std", _per_band(std))

    def observations(self, of: str | None = None) -> np.ndarray:
        return np.asarray(self.images.region)

    def load(self, rows: np.ndarray, of: str | None = None) -> Tensor:
        """Images as they are stored: uint8 or float32 (NaN missing) Tensor[n, bands, h, w]."""
        return torch.from_numpy(self.images.read(rows))

    def augment(self, batch: Tensor, generator: torch.Generator) -> Tensor:
        return augment(batch, self.params.augment, generator)

    def fingerprint(self, of: str | None = None) -> str:
        return hash_json([self.images.content_hash, pair(self.images.size)])

    def computed_by(self) -> dict[str, Any]:
        return {**super().computed_by(), "size": self.size, "filter": "bicubic" if self._bicubic else "bilinear"}

    def pixels(self, batch: Tensor) -> Tensor:
        """Return the model's input, float32 Tensor[n, bands (+ 1), height, width], of what `load` returned."""
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


def pair(size: int | tuple[int, int]) -> tuple[int, int]:
    """Return the height and the width of a size, which is one number for a square."""
    return (size, size) if isinstance(size, int) else (int(size[0]), int(size[1]))


def _per_band(values: np.ndarray) -> Tensor:
    return torch.as_tensor(values, dtype=torch.float32).view(-1, 1, 1)
