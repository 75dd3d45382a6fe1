"""Thumbnails of the images of regions, as many and as large as the byte budget allows."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from urbankit.city.city import City
from urbankit.city.image_source import ImageSource
from urbankit.city.texts import text_of
from urbankit.report.page.packing import pack_counts
from urbankit.report.rgb_bands import colour_bands


class Size(NamedTuple):
    """How many images a region shows of one source, the pixels of their longer side, and WebP's quality."""

    images: int
    pixels: int
    quality: int


SIZES = (
    Size(6, 128, 75), Size(4, 112, 70), Size(3, 96, 65), Size(2, 80, 60), Size(1, 80, 60), Size(1, 64, 50),
    Size(1, 48, 40), Size(1, 32, 30),
)  # fmt: skip
"""From the best to the smallest; the first that fits the budget is used."""

_SAMPLE = 48
"""Images of a source that are encoded to estimate the bytes of one."""

_OVERHEAD = 8
"""Bytes of quotes, commas and indices of one image in the page."""


@dataclass
class Thumbnails:
    """`payload` is the data of the page: `images` (base64 of WebP, no duplicates) and the index of each source.

    `notes` are sentences on what was made smaller or left out.
    """

    payload: dict[str, Any] = field(default_factory=lambda: {"images": [], "sources": []})
    notes: list[str] = field(default_factory=list)


def thumbnails(city: City, budget: int) -> Thumbnails:
    """The first images of every region of `city`, in at most about `budget` bytes of the page."""
    sources = [city.images(name) for name in city.image_sources]
    if not sources:
        return Thumbnails(notes=["There are no images of regions: the city has none."])
    size = next((size for size in SIZES if _estimate(sources, size) <= budget), None)
    if size is None:
        return Thumbnails(notes=["Images of regions are left out: the page would be larger than 15 MB with them."])
    result = Thumbnails()
    index_of: dict[str, int] = {}
    for source in sources:
        rows = first_rows(source.region, size.images)
        index = [index_of.setdefault(text, len(index_of)) for text in _encoded(source, rows, size)]
        result.payload["sources"].append(
            {
                "name": source.name,
                "title": text_of(city, f"images.{source.name}").title or source.name,
                "bands": _false_colours(source),
                "of": pack_counts(np.bincount(source.region[rows], minlength=city.n_regions)),
                "image": pack_counts(np.array(index, np.int64)),
            }
        )
    result.payload["images"] = list(index_of)
    if size != SIZES[0]:
        result.notes.append(
            f"Images of regions are at most {size.images} per region and source, {size.pixels} pixels wide, so that "
            "the page is below 15 MB."
        )
    return result


def first_rows(region: NDArray[np.int64], most: int) -> NDArray[np.int64]:
    """Rows of the first `most` images of each region; `region` [M] is sorted."""
    rank = np.arange(len(region)) - np.searchsorted(region, region)
    return np.flatnonzero(rank < most)


def _estimate(sources: Iterable[ImageSource], size: Size) -> float:
    """Bytes that images of this size would take of the page, judged by some of each source."""
    total = 0.0
    for source in sources:
        rows = first_rows(source.region, size.images)
        if len(rows):
            tried = np.sort(np.random.default_rng(0).choice(rows, min(_SAMPLE, len(rows)), replace=False))
            texts = list(_encoded(source, tried, size))
            # Duplicates are assumed to be as frequent among all images as in the sample.
            total += len(rows) * sum(len(text) + _OVERHEAD for text in set(texts)) / len(tried)
    return total


def _encoded(source: ImageSource, rows: NDArray[np.int64], size: Size) -> Iterable[str]:
    for begin in range(0, len(rows), 256):
        for pixels in natural_colours(source, source.read(rows[begin : begin + 256])):
            image = Image.fromarray(pixels)
            image.thumbnail((size.pixels, size.pixels))
            stream = io.BytesIO()
            image.save(stream, "WEBP", quality=size.quality)
            yield base64.b64encode(stream.getvalue()).decode("ascii")


def natural_colours(source: ImageSource, pixels: NDArray) -> NDArray[np.uint8]:
    """RGB images, uint8 [n, h, w, 3], of `pixels` [n, bands, h, w]; missing pixels are grey.

    Shows the red, green and blue bands if there are any, else the first three, else the first in grey. Bytes are used
    as they are; other numbers are stretched from two standard deviations below a band's mean over the city to two
    above it.
    """
    bands = _visible(source)
    chosen = pixels[:, bands].transpose(0, 2, 3, 1)
    if chosen.dtype == np.uint8:
        return np.ascontiguousarray(chosen)
    low = (source.band_mean - 2 * source.band_std)[bands]
    stretched = (chosen - low) / np.maximum(4 * source.band_std[bands], 1e-12)
    return np.rint(np.nan_to_num(stretched, nan=0.5).clip(0, 1) * 255).astype(np.uint8)


def _visible(source: ImageSource) -> list[int]:
    return colour_bands(source) or ([0, 1, 2] if source.bands >= 3 else [0, 0, 0])


def _false_colours(source: ImageSource) -> str:
    """The names of the bands that stand for red, green and blue, or an empty text if the colours are natural."""
    return (
        "" if colour_bands(source) else ", ".join(dict.fromkeys(source.band_names[band] for band in _visible(source)))
    )
