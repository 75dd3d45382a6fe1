"""What captions describe: the images of a modality or the regions of a city, and how their pixels are read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from urbankit.captioning.captioners.base import Captioner
from urbankit.city.city import City
from urbankit.city.image_source import ImageSource
from urbankit.city.io.access import Access
from urbankit.city.io.patches import cut_patches, open_mosaic
from urbankit.city.io.pictures import read_picture
from urbankit.city.prepare.attach import DESCRIBED_LAYERS
from urbankit.city.prepare.images import mosaic_files, patch_extent_m
from urbankit.city.spec import MosaicImages
from urbankit.utils.errors import Problem, Problems, UserError, suggest
from urbankit.utils.files import hash_json
from urbankit.utils.paths import data_paths

# Models take pictures of 224 to about 1000 pixels; their processors shrink larger ones.
PICTURE_SIDE, PATCH_SIDE, SMALL_SIDE = 1024, 448, 224
REGION_MODALITIES = ("rsi", "svi")
"""Modalities that regions can be described for without images."""

Pixels = list[np.ndarray | Problem]
Reader = Callable[[Sequence[int]], Pixels]


@dataclass
class CaptionItems:
    """The n images or regions of one modality to describe, each once, in the order of the city.

    Attributes:
        modality: The image source, or the modality that captions of regions are filed under.
        regions: int64[n]; of an image in several regions, the first.
        images: The n image ids, None if regions themselves are described.
        read: Returns for rows [k] a picture uint8[h, w, 3] each, or the problem with it.
        identity: Changes with the city and with the pixels that are read.
        dropped: The numbers of images or regions that are not described, by reason.
        note: A hint for the user.
        one_reader: Whether `read` uses all processors, so that only one thread should call it.
    """

    modality: str
    regions: np.ndarray
    images: list[str] | None
    read: Reader
    identity: dict[str, Any]
    dropped: dict[str, int] = field(default_factory=dict)
    note: str | None = None
    one_reader: bool = False

    def __len__(self) -> int:
        return len(self.regions)


def choose_modalities(captioner: Captioner, city: City, requested: list[str] | None) -> list[str]:
    """The modalities to describe: those that are requested, or all.

    A captioner that reads images describes all image sources. A captioner of regions describes the sources with one
    image for each region, or `rsi` if there is none. Raises `UserError` for a name that the city lacks, and for a city
    without images.
    """
    sources = city.image_sources
    if captioner.reads_images and not sources:
        message = (
            f"the city '{city.name}' has no images to describe; name some in its city.yaml, or describe its regions by "
            "their counts and tables: --captioner template"
        )
        raise UserError(Problem(message, city.path))
    if requested is None:
        return sources if captioner.reads_images else city.overhead_sources or list(REGION_MODALITIES[:1])
    available = sources if captioner.reads_images else list(dict.fromkeys([*sources, *REGION_MODALITIES]))
    problems = Problems(city.path)
    for name in requested:
        if name not in available:
            problems.add(f"the city '{city.name}' has no image source '{name}'.{suggest(name, available)}")
    problems.raise_if_any()
    return list(dict.fromkeys(requested))


def find_items(
    captioner: Captioner, city: City, modality: str, data: Path | None = None, bands: Sequence[int] | None = None
) -> CaptionItems:
    """The images or regions of `modality` that `captioner` describes.

    Args:
        captioner: Reads images, or describes regions.
        city: The prepared city.
        modality: One of `choose_modalities`.
        data: The folder of the city's sources, to read pictures and mosaics larger than the city stores them.
        bands: Red, green and blue, counted from 1, of images that are not of three bands in this order.

    Raises:
        UserError: If the folder does not exist, and for bands that do not exist or must be named.
    """
    described = captioner.describes()
    if not captioner.reads_images:
        dropped = {} if described.all() else {"of which the captioner knows nothing": int((~described).sum())}
        regions = {"regions": hash_json(city.layer_hashes(*DESCRIBED_LAYERS))}
        return CaptionItems(modality, np.flatnonzero(described), None, lambda rows: [], regions, dropped)
    source = city.images(modality)
    colours = _colours(source, bands)
    # An image that lies in several regions has a row in each.
    rows = np.sort(np.unique(np.array(source.image_ids, dtype=object).astype(str), return_index=True)[1])
    valid = described[source.region[rows]]
    dropped = {} if valid.all() else {"in a region that the captioner knows nothing of": int((~valid).sum())}
    rows = rows[valid]
    spec = city.manifest["spec"]["images"][modality]
    note = None
    if data is None:
        read = _prepared_reader(source, rows, colours)
        if min(source.size) < SMALL_SIDE:
            note = (
                f"{modality}: described from {source.size[1]} x {source.size[0]} pixels, as the city stores them; "
                "give the folder of its sources with --data to read them larger"
            )
    elif not data.is_dir():
        raise UserError(Problem("there is no such folder; give the data folder that the city was prepared from", data))
    elif "mosaic" in spec:
        read = _patch_reader(city, source, rows, colours, spec, data)
    else:
        read = _picture_reader(source, rows, data, "outside" in city.access.allow)
    identity = {
        "images": source.content_hash,
        "pixels": "prepared" if data is None else "sources",
        "bands": None if bands is None else list(bands),
    }
    images = [source.image_ids[row] for row in rows]
    one_reader = data is not None and "mosaic" in spec
    return CaptionItems(modality, source.region[rows], images, read, identity, dropped, note, one_reader)


def _prepared_reader(source: ImageSource, rows: np.ndarray, colours: list[int]) -> Reader:
    return lambda chosen: list(_rgb(source.read(rows[list(chosen)]), source, colours))


def _picture_reader(source: ImageSource, rows: np.ndarray, data: Path, outside: bool) -> Reader:
    def read_one(row: int) -> np.ndarray | Problem:
        try:
            return read_picture(data_paths(data, [source.files[row]], outside=outside)[0], PICTURE_SIDE)
        except UserError as error:
            return error.problems[0]

    return lambda chosen: [read_one(row) for row in rows[list(chosen)].tolist()]


def _patch_reader(
    city: City, source: ImageSource, rows: np.ndarray, colours: list[int], spec: dict[str, Any], data: Path
) -> Reader:
    images = MosaicImages(**spec)
    names = mosaic_files(images)
    access = Access(data, city.access.allow)
    paths = data_paths(data, names, outside="outside" in access.allow)
    for name, path in zip(names, paths, strict=True):
        if not path.is_file():
            raise UserError(Problem(f"there is no '{name}'; give the folder of the city's sources", data))
    mosaic = open_mosaic(paths, images.bands, crs=images.crs, nodata=images.nodata, access=access)
    xy = city.regions[["x", "y"]].to_numpy(np.float64)
    extent_m = patch_extent_m(images, city.regions)
    height, width = images.height_width
    scale = max(1.0, PATCH_SIDE / max(height, width))
    size = (round(scale * height), round(scale * width))

    def read(chosen: Sequence[int]) -> Pixels:
        centres = xy[source.region[rows[list(chosen)]]]
        batches = cut_patches(mosaic, centres, city.regions.crs, extent_m, size)
        return [picture for batch in batches for picture in _rgb(batch, source, colours)]

    return read


def _colours(source: ImageSource, bands: Sequence[int] | None) -> list[int]:
    """The bands of red, green and blue, counted from 0; one band is grey."""
    if bands is not None:
        if len(bands) not in (1, 3) or not all(1 <= band <= source.bands for band in bands):
            message = f"must be one or three of 1 to {source.bands}, the bands of '{source.name}'"
            raise UserError(f"--bands {','.join(map(str, bands))}: {message}")
        return [band - 1 for band in bands] * (3 if len(bands) == 1 else 1)
    if source.bands not in (1, 3):
        message = (
            f"images of '{source.name}' have {source.bands} bands ({', '.join(source.band_names)}), and it is not "
            "known which are red, green and blue; name them with --bands RED,GREEN,BLUE, counted from 1"
        )
        raise UserError(message)
    return [0, 0, 0] if source.bands == 1 else [0, 1, 2]


def _rgb(pixels: np.ndarray, source: ImageSource, colours: list[int]) -> np.ndarray:
    """uint8[n, h, w, 3] of [n, bands, h, w]; missing pixels are black.

    Bytes are used as they are; other values are scaled so that the band's mean over the city, minus and plus two
    standard deviations, becomes 0 and 255.
    """
    chosen = pixels[:, colours].transpose(0, 2, 3, 1)
    if source.dtype != "uint8":
        low = (source.band_mean - 2 * source.band_std)[colours]
        chosen = (chosen - low) / np.maximum(4 * source.band_std[colours], 1e-12) * 255
    if chosen.dtype == np.uint8:
        return np.ascontiguousarray(chosen)
    return np.rint(np.nan_to_num(chosen)).clip(0, 255).astype(np.uint8)
