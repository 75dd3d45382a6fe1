"""What a captioner is: it writes one text about each image, or about each region, of a prepared city."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from urbankit.city.city import City
from urbankit.registry.component import Component, P


@dataclass(frozen=True)
class Batch:
    """What is to be described: n images of one modality, or n regions.

    `start` is the place of the first of them among all that are described; `regions` int64[n] are rows of
    `city.regions`; `pixels` are n pictures uint8[h, w, 3] of RGB, of any sizes, and none for a captioner that reads no
    images. A picture that could not be read is left out.
    """

    modality: str
    start: int
    regions: np.ndarray
    pixels: list[np.ndarray]

    def __len__(self) -> int:
        return len(self.regions)


@dataclass(frozen=True)
class Caption:
    """A text, and how many tokens of the model's own it has, the end not counted; None where nobody counts."""

    text: str
    tokens: int | None = None


class Captioner(Component[P], ABC):
    """Writes captions, the same ones every time.

    `caption` is all that a captioner must have. Nothing heavy belongs into `__init__`: it runs before the settings are
    compared with those of captions that are there already, and a model is loaded only when `caption` needs it.
    """

    reads_images: ClassVar[bool] = True
    """False for a captioner that describes regions by what else the city knows of them."""

    no_effect: ClassVar[frozenset[str]] = frozenset({"batch_size", "device"})
    """Parameters that do not decide what a caption says, so that they may change between a kill and its resumption."""

    model: str | None = None
    """What is recorded as the model of a caption; None records the captioner's name."""

    revision: str | None = None
    """What is recorded as the model's revision."""

    batch_size: int = 256
    """Images or regions in one call of `caption`."""

    def __init__(self, params: P, city: City) -> None:
        self.params, self.city = params, city

    def prompt(self, modality: str) -> str | None:
        """What the model is asked about an image of `modality`; None for a captioner that is asked nothing."""
        return None

    def settings(self, modality: str) -> dict[str, Any]:
        """All that decides what a caption of `modality` says, in JSON values; captions of other settings never mix."""
        params = self.params.model_dump(mode="json", exclude=set(self.no_effect))
        return {"model": self.model, "revision": self.revision, "prompt": self.prompt(modality), **params}

    def describes(self) -> np.ndarray:
        """bool[N]: the regions that the captioner knows enough of to say something; the others get no caption."""
        return np.ones(self.city.n_regions, bool)

    def load(self, batch: Batch) -> Any:
        """What `caption` takes, made in a thread while the batch before is captioned: decoding is done, resize here."""
        return batch

    @abstractmethod
    def caption(self, batch: Any) -> list[Caption]:
        """One caption each, in order, for what `load` made of a batch; one without a word where there is none."""
