"""A mosaic of the satellite images of all regions."""

from __future__ import annotations

import re

import numpy as np
import shapely
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from urbankit.city.city import City
from urbankit.city.image_source import ImageSource
from urbankit.report.figures.errors import NotPossible
from urbankit.report.maps import RegionMap
from urbankit.report.rgb_bands import colour_bands
from urbankit.report.style import shorten

LONGEST = 600
"""Pixels of the longer side, for a printed map of 2 inches at 300 dots per inch."""

_CHUNK = 256
_SEAM = 0.12


def satellite_source(city: City) -> str:
    """Return the name of the first source of satellite images. Raises `NotPossible` if the city has none."""
    if not city.overhead_sources:
        raise NotPossible("the city has no satellite images")
    return city.overhead_sources[0]


def from_above(city: City, outline: RegionMap) -> NDArray[np.float32]:
    """Return a picture [h, w, 4] of `outline.bounds`: RGB and coverage in 0..1, the first row in the north.

    Each pixel comes from the image of the region with the nearest centre; images are centred on their region, with
    north up. Pixels outside that image, beyond a small seam, are transparent.
    """
    name = satellite_source(city)
    images = city.images(name)
    first_of = dict(zip(images.region[::-1].tolist(), range(len(images) - 1, -1, -1), strict=True))
    regions, rows = np.array(list(first_of)), np.array(list(first_of.values()))
    x, y = _grid(outline.bounds)
    region, pixel = _lookup(outline.centres[regions], x, y, _extent_m(city, name, outline), images.size)
    picture = np.full((len(y) * len(x), 4), np.nan, np.float32)
    inside = pixel >= 0
    order = np.argsort(region, kind="stable")
    order = order[inside[order]]
    for begin in range(0, len(regions), _CHUNK):
        low, high = np.searchsorted(region[order], (begin, begin + _CHUNK))
        selected = order[low:high]
        if len(selected):
            tiles = rgb(images, rows[begin : begin + _CHUNK])
            flat = tiles.reshape(len(tiles), -1, 3)
            picture[selected, :3] = flat[region[selected] - begin, pixel[selected]]
    picture[:, 3] = np.isfinite(picture[:, :3]).all(axis=1)
    return np.nan_to_num(stretched(picture.reshape(len(y), len(x), 4), images.dtype))


def picture_title(images: ImageSource) -> str:
    """Return a title for a picture of these images."""
    return "satellite" if colour_bands(images) else shorten(images.band_names[0])


def rgb(images: ImageSource, rows: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return red, green and blue [n, h, w, 3] of images by row; without colour bands, the first band in grey."""
    pixels = images.read(np.asarray(rows))[:, colour_bands(images) or [0, 0, 0]].astype(np.float32)
    return np.moveaxis(pixels / np.float32(255) if images.dtype == "uint8" else pixels, 1, -1)


def stretched(picture: NDArray[np.float32], dtype: str) -> NDArray[np.float32]:
    """Return colours in 0..1. Values other than uint8 are scaled from their 1st to their 99th percentile."""
    colours = picture[..., :3]
    valid = colours[np.isfinite(colours)]
    if dtype != "uint8" and len(valid):
        low, high = np.percentile(valid, (1, 99))
        colours = (colours - low) / max(high - low, 1e-9)
    return np.concatenate([np.clip(colours, 0, 1), picture[..., 3:]], axis=-1)


def _grid(bounds: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the centres of the pixels: x from the west, y from the north."""
    left, low, right, high = bounds
    step = max(right - left, high - low) / LONGEST
    return np.arange(left + step / 2, right, step), np.arange(high - step / 2, low, -step)


def _lookup(
    centres: NDArray[np.float64],
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    extent: NDArray[np.float64],
    size: tuple[int, int],
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return for each pixel the nearest of `centres` and its flat index in that image, -1 outside."""
    at = np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2)
    # In the maximum norm a pixel inside any image is inside the nearest one.
    region = cKDTree(centres / extent).query(at / extent, p=np.inf)[1]
    across = (at - centres[region]) / extent + 0.5
    inside = (np.abs(across - 0.5) <= 0.5 + _SEAM).all(axis=1)
    column = np.floor(across[:, 0] * size[1]).clip(0, size[1] - 1)
    row = np.floor((1 - across[:, 1]) * size[0]).clip(0, size[0] - 1)
    return region, np.where(inside, row * size[1] + column, -1).astype(np.int64)


def _extent_m(city: City, source_name: str, outline: RegionMap) -> NDArray[np.float64]:
    """Return the size of an image on the ground [2] in metres: that of a patch, else of a bounding box."""
    notes = next((source.notes for source in city.report.sources if source.key == f"images.{source_name}"), [])
    patch = next((match for note in notes if (match := re.search(r"patches of (\d+) m", note))), None)
    if patch is not None:
        return np.full(2, float(patch[1]))
    boxes = shapely.bounds(outline.original)
    extent = np.asarray(np.median(boxes[:, 2:] - boxes[:, :2], axis=0), np.float64)
    if extent.min() <= 0:
        raise NotPossible("the regions have no area, so the size of their images on the ground is unknown")
    return extent
