"""Images as a modality without learning: statistics of every band."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from urbankit.errors import closest
from urbankit.files import hash_json
from urbankit.modalities.features import FeatureEncoder, FeatureParams
from urbankit.modalities.prefetch import ahead
from urbankit.modalities.store import FeatureStore

if TYPE_CHECKING:
    from urbankit.city.city import City, ImageSource

PERCENTILES = (5, 25, 50, 75, 95)


class ImageStats(FeatureEncoder):
    """Of every band: mean, standard deviation, percentiles, share of valid pixels, and the centre against the rim.

    One observation an image; the statistics are standardised over the images.
    """

    class Params(FeatureParams):
        source: str | None = Field(None, description="The city's image source; the default is the modality's name.")

    @classmethod
    def requires(cls, params: Any, city: City, modality: str) -> str | None:
        name = params.source or modality
        known = city.image_sources
        return None if name in known else f"the city has no image source '{name}'.{closest(name, known)}"

    def features(self, city: City) -> tuple[np.ndarray, np.ndarray]:
        images = city.images(self.params.source or self.modality)
        return all_image_stats(images), np.asarray(images.region)


def all_image_stats(images: ImageSource, chunk: int = 64) -> np.ndarray:
    """`image_stats` of all images of a source, float32[M, bands * 10], computed once and kept in the feature store."""
    store, key = FeatureStore(), hash_json(["image_stats 1", images.content_hash])
    kept = store.get(key)
    if kept is None:
        n = len(images.region)
        pieces = [np.arange(begin, min(begin + chunk, n)) for begin in range(0, n, chunk)]
        parts = [image_stats(torch.from_numpy(read)) for read in ahead(images.read, pieces)]
        kept = {"stats": torch.cat(parts) if parts else torch.zeros(0, images.bands * 10)}
        store.put(key, kept)
    return kept["stats"].numpy()


def image_stats(images: Tensor) -> Tensor:
    """Statistics by band over an image's valid pixels, float32 Tensor[n, bands * 10]; NaN where a band has none.

    In this order, each for every band: mean, standard deviation, the percentiles 5, 25, 50, 75, 95, the share of valid
    pixels, the mean of the central ninth (the middle third of rows and columns), and that less the mean of the rest.

    Args:
        images: Tensor[n, bands, h, w], uint8 (taken as 0 to 1) or float with NaN for missing pixels.
    """
    x = images.float() / 255 if images.dtype == torch.uint8 else images.float()
    h, w = x.shape[-2:]
    flat = x.flatten(2)
    count = (~flat.isnan()).sum(-1)
    mean = flat.nanmean(-1)
    deviation = (flat - mean.unsqueeze(-1)).square().nanmean(-1).sqrt()
    # Sorting puts NaN last: the valid pixels are the first `count`.
    ranked = flat.sort(-1).values
    share = torch.tensor(PERCENTILES, dtype=x.dtype, device=x.device) / 100
    place = (share * (count.clamp(min=1) - 1).unsqueeze(-1)).round().long()
    percentiles = ranked.gather(-1, place)
    centre = torch.zeros(h, w, dtype=torch.bool, device=x.device)
    centre[h // 3 : h - h // 3, w // 3 : w - w // 3] = True
    inner, outer = x[..., centre].nanmean(-1), x[..., ~centre].nanmean(-1)
    columns = [mean, deviation, *percentiles.unbind(-1), count / flat.shape[-1], inner, inner - outer]
    return torch.cat([column.float() for column in columns], dim=1)
