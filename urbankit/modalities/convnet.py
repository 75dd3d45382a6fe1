"""Images as a modality: a convolutional network, small enough to train from scratch on one city's images."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from pydantic import Field
from torch import Tensor, nn
from transformers import PreTrainedModel

from urbankit.city.city import City
from urbankit.modalities.base import Tokens
from urbankit.modalities.images import ImageEncoder, ImageParams, pair
from urbankit.modalities.pretrained.backbone import settings_of
from urbankit.modalities.pretrained.vision import CONVOLUTIONAL, token_mask, vector_and_states


class ConvNetParams(ImageParams):
    """The parameters of a convolutional network."""

    pretrained: str | None = Field(
        None,
        description="A checkpoint of ResNet or ConvNeXt (1 or 2) in the layout of transformers: a local folder or a "
        "name on the Hugging Face hub. Decides widths and stride.",
        json_schema_extra={"local_path": True},
    )
    widths: list[int] = Field(
        [16, 32, 64, 128],
        min_length=1,
        max_length=12,
        description="Channels of each layer. A layer is a 3 × 3 convolution, batch normalisation and ReLU; all but a "
        "first one with stride 2 then halve height and width by their maximum.",
    )
    stride: int = Field(
        2,
        ge=1,
        le=2,
        description="Stride of the first convolution. 1 keeps its full resolution, at about 1.6 times the cost.",
    )


class ConvNet(ImageEncoder[ConvNetParams]):
    """A convolutional network: from scratch a plain one, or ResNet and ConvNeXt of the library transformers.

    A vector is the mean of the last layer over the image.

    On the few hundred to few thousand images of a city it learns more from scratch than a transformer does, because it
    need not learn that nearby pixels belong together. Batch normalisation uses the statistics of the mini-batch in
    training and their running mean otherwise, also for a mini-batch of one image.
    """

    Params = ConvNetParams
    classes = CONVOLUTIONAL
    independent = True

    def __init__(self, params: ConvNetParams, city: City, modality: str, dim: int) -> None:
        super().__init__(params, city, modality, dim)
        if params.pretrained is None:
            self.size = pair(params.image_size or self.images.size)
            self.model: nn.Module = _from_scratch(
                self.images.bands + params.validity_band, params.widths, params.stride
            )
            self.normalise(*self.band_statistics())
            width = params.widths[-1]
        else:
            self.model, _ = self.load_pretrained(params.pretrained)
            width = self.model.config.hidden_sizes[-1]
        self.connect(width)

    def forward(self, batch: Tensor) -> Tensor:
        return self._vector_and_map(batch)[0]

    def tokens(self, batch: Tensor) -> Tokens:
        """The cells of the last layer, by rows."""
        vector, states = self._vector_and_map(batch)
        return Tokens(vector, states, token_mask(states))

    def computed_by(self) -> dict[str, Any]:
        settings = settings_of(self.model) if isinstance(self.model, PreTrainedModel) else {}
        return {**super().computed_by(), "config": settings}

    def _vector_and_map(self, batch: Tensor) -> tuple[Tensor, Tensor]:
        """The vectors Tensor[n, width], and the cells of the last layer Tensor[n, L, width]."""
        pixels = self.pixels(batch)
        with _norms_still(self.model) if len(batch) == 1 else nullcontext():
            return self._of_pixels(pixels)

    def _of_pixels(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        if isinstance(self.model, PreTrainedModel):
            return vector_and_states(self.model, pixels, interpolate=False)
        # Convolutions on processors are up to twice as fast where the channels of a pixel lie side by side.
        states = self.model(pixels.contiguous(memory_format=torch.channels_last)).flatten(2).transpose(1, 2)
        return states.mean(dim=1), states


@contextmanager
def _norms_still(model: nn.Module) -> Iterator[None]:
    """Let batch normalisation use its running statistics: torch refuses those of one image whose map is one cell."""
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d) and module.training]
    for norm in norms:
        norm.eval()
    try:
        yield
    finally:
        for norm in norms:
            norm.train()


def _from_scratch(bands: int, widths: list[int], stride: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for i, (before, width) in enumerate(zip([bands, *widths], widths, strict=False)):
        halved = i == 0 and stride == 2
        layers += [
            nn.Conv2d(before, width, 3, stride=stride if halved else 1, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
        ]
        if not halved:
            layers.append(nn.MaxPool2d(2, ceil_mode=True))
    return nn.Sequential(*layers)
