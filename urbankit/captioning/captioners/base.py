"""The base of captioners, which write one text about each image or region of a prepared city."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from urbankit.city.city import City
from urbankit.registry.component import Component, P


@dataclass(frozen=True)
class Batch:
    """n images of one modality, or n regions, to describe.

    Attributes:
        modality: The image source, or the modality that captions of regions are filed under.
        start: The index of the first among all that are described.
        regions: int64[n], rows of `city.regions`.
        pixels: n pictures uint8[h, w, 3] of RGB, of any sizes; empty for a captioner that reads no images. A picture
            that cannot be read is left out of the batch.
    """

    modality: str
    start: int
    regions: np.ndarray
    pixels: list[np.ndarray]

    def __len__(self) -> int:
        return len(self.regions)


@dataclass(frozen=True)
class Caption:
    """A text, and its number of tokens of the model without the end token; None if the captioner counts none."""

    text: str
    tokens: int | None = None


class Captioner(Component[P], ABC):
    """Writes captions, the same every time for the same input and parameters.

    Only `caption` must be implemented. `__init__` should stay light: it runs before the settings are compared with
    those of existing captions. Load a model when `caption` first needs it.

    Attributes:
        reads_images: False for a captioner that describes regions by other data of the city.
        no_effect: Parameters that do not change captions, so that an interrupted job may continue with other values.
        model: Recorded as the model of a caption; None records the captioner's name.
        revision: Recorded as the model's revision.
        batch_size: Images or regions in one call of `caption`.
        params: The validated parameters.
        city: The city to describe.
    """

    reads_images: ClassVar[bool] = True
    no_effect: ClassVar[frozenset[str]] = frozenset({"batch_size", "device"})
    model: str | None = None
    revision: str | None = None
    batch_size: int = 256

    def __init__(self, params: P, city: City) -> None:
        """Check that the captioner can describe the city. Raises `UserError` if it cannot."""
        self.params, self.city = params, city

    def prompt(self, modality: str) -> str | None:
        """Return what the model is asked about an image of `modality`; None for a captioner without prompts."""
        return None

    def settings(self, modality: str) -> dict[str, Any]:
        """Return all settings that captions of `modality` depend on, as JSON values.

        Captions with different settings are never mixed.
        """
        params = self.params.model_dump(mode="json", exclude=set(self.no_effect))
        return {"model": self.model, "revision": self.revision, "prompt": self.prompt(modality), **params}

    def describes(self) -> np.ndarray:
        """Return bool[N]: the regions with enough data for a caption; the others get none."""
        return np.ones(self.city.n_regions, bool)

    def load(self, batch: Batch) -> Any:
        """Return the input of `caption`, computed in a thread while the previous batch is captioned.

        The pictures are decoded already; resize them here.
        """
        return batch

    @abstractmethod
    def caption(self, batch: Any) -> list[Caption]:
        """Describe a batch.

        Args:
            batch: What `load` returned.

        Returns:
            One caption each, in the order of the batch; its text may be empty.
        """
