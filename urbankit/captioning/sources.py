"""What is described: the images of a modality, or the regions of a city, and how their pixels are read."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from urbankit.captioning.captioners.base import Captioner
from urbankit.city.city import City
from urbankit.city.image_source import ImageSource
from urbankit.city.io.patches import cut_patches, mosaic_bands
from urbankit.city.io.pictures import read_picture
from urbankit.city.prepare.attach import DESCRIBED_LAYERS
from urbankit.city.prepare.images import patch_extent_m
from urbankit.city.spec import MosaicImages
from urbankit.utils.errors import Problem, UserError, suggest
from urbankit.utils.files import hash_json
from urbankit.utils.paths import resolve_inside

# Models take pictures of 224 to about 1000 pixels; their processors shrink what is larger.
PICTURE_SIDE, PATCH_SIDE, SMALL_SIDE = 1024, 448, 224
DESCRIBED = ("rsi", "svi")
"""Modalities that regions can be described for without images."""

Pixels = list["np.ndarray | Problem"]


@dataclass
class CaptionSources:
    """All that is described in one modality, each once, in the order of the city.

    `regions` int64[n], for an image in several the first; `images` are their n ids, None where regions themselves are
    described. `read` gives, for places [k] among them, uint8[h, w, 3] each, or the problem with it. `source` tells them
    from those of other cities, and from other pixels of theirs; `dropped` counts what is not described, by reason.
    `one_reader` where `read` takes all processors by itself, so that one thread at a time is to call it.
    """

    modality: str
    regions: np.ndarray
    images: list[str] | None
    read: Callable[[Sequence[int]], Pixels]
    source: dict[str, Any]
    dropped: dict[str, int] = field(default_factory=dict)
    note: str | None = None
    one_reader: bool = False

    def __len__(self) -> int:
        return len(self.regions)


def choose_modalities(captioner: Captioner, city: City, asked: list[str] | None) -> list[str]:
    """The modalities to describe: those `asked` for, or all that there are.

    By images all image sources; by regions, sources with one image a region, or `rsi` where there is none. Raises
    `UserError` for a name that the city lacks, and for a city without images.
    """
    sources = city.image_sources
    if captioner.reads_images and not sources:
        message = (
            f"the city '{city.name}' has no images to describe; name some in its city.yaml, or describe its regions by "
            "their counts and tables: --captioner template"
        )
        raise UserError(Problem(message, city.path))
    known = sources if captioner.reads_images else list(dict.fromkeys([*sources, *DESCRIBED]))
    if asked is None:
        specs = city.manifest["spec"]["images"]
        whole = [name for name in sources if "points" not in specs[name]]
        return sources if captioner.reads_images else whole or ["rsi"]
    strangers = [name for name in asked if name not in known]
    if strangers:
        raise UserError(
            [
                Problem(f"the city '{city.name}' has no image source '{name}'.{suggest(name, known)}", city.path)
                for name in strangers
            ]
        )
    return list(dict.fromkeys(asked))


def find_sources(
    captioner: Captioner, city: City, modality: str, data: Path | None = None, bands: Sequence[int] | None = None
) -> CaptionSources:
    """What `captioner` describes of `modality`.

    `data` is the folder of the city's sources: its pictures and mosaics are then read anew, larger than the city keeps
    them. `bands` are red, green and blue, counted from 1, of images that are not of three bands in this order.
    Raises `UserError` where there is no such folder, and for bands that are not there or must be named.
    """
    if not captioner.reads_images:
        return _regions(captioner, city, modality)
    source = city.images(modality)
    colours = _colours(source, bands)
    # An image that lies in several regions has a row in each.
    rows = np.sort(np.unique(np.array(source.image_ids, dtype=object).astype(str), return_index=True)[1])
    told = captioner.describes()[source.region[rows]]
    dropped = {"in a region that the captioner knows nothing of": int((~told).sum())} if not told.all() else {}
    rows = rows[told]
    spec = city.manifest["spec"]["images"][modality]
    note = None
    if data is None:
        read = _prepared(source, rows, colours)
        if min(source.size) < SMALL_SIDE:
            note = f"{modality}: described from {source.size[1]} x {source.size[0]} pixels, as the city keeps them; "
            note += "give the folder of its sources by --data to read them larger"
    elif not data.is_dir():
        raise UserError(Problem("there is no such folder; give the one that the city was prepared from", data))
    elif "mosaic" in spec:
        read = _patches(city, source, rows, colours, spec, data)
    else:
        read = _pictures(source, rows, data)
    identity = {
        "images": source.content_hash,
        "pixels": "prepared" if data is None else "sources",
        "bands": None if bands is None else list(bands),
    }
    return CaptionSources(
        modality,
        source.region[rows],
        [source.image_ids[row] for row in rows],
        read,
        identity,
        dropped,
        note,
        one_reader=data is not None and "mosaic" in spec,
    )


def _regions(captioner: Captioner, city: City, modality: str) -> CaptionSources:
    told = captioner.describes()
    known = city.layer_hashes(*DESCRIBED_LAYERS)
    dropped = {"of which the captioner knows nothing": int((~told).sum())} if not told.all() else {}
    return CaptionSources(
        modality, np.flatnonzero(told), None, lambda places: [], {"regions": hash_json(known)}, dropped
    )


def _prepared(source: ImageSource, rows: np.ndarray, colours: list[int]) -> Callable[[Sequence[int]], Pixels]:
    def read(places: Sequence[int]) -> Pixels:
        return list(_rgb(source.read(rows[list(places)]), source, colours))

    return read


def _pictures(source: ImageSource, rows: np.ndarray, data: Path) -> Callable[[Sequence[int]], Pixels]:
    root = os.path.realpath(data)

    def read_one(row: int) -> np.ndarray | Problem:
        path = resolve_inside(data, source.files[row])
        if path is None or os.path.commonpath([root, os.path.realpath(path)]) != root:
            return Problem(f"the path '{source.files[row]}' leaves the folder {data}")
        try:
            return read_picture(path, PICTURE_SIDE)
        except UserError as error:
            return error.problems[0]

    return lambda places: [read_one(row) for row in rows[list(places)].tolist()]


def _patches(
    city: City, source: ImageSource, rows: np.ndarray, colours: list[int], spec: dict[str, Any], data: Path
) -> Callable[[Sequence[int]], Pixels]:
    images = MosaicImages(**spec)
    names = [images.mosaic] if isinstance(images.mosaic, str) else list(images.mosaic)
    paths: list[Path] = []
    for name in names:
        path = resolve_inside(data, name)
        if path is None or not path.is_file():
            raise UserError(Problem(f"there is no '{name}'; give the folder of the city's sources", data))
        paths.append(path)
    bands = mosaic_bands(paths, images.bands)
    extent_m = patch_extent_m(images, city.regions)
    height, width = images.height_width
    scale = max(1.0, PATCH_SIDE / max(height, width))
    size = (round(scale * height), round(scale * width))

    def read(places: Sequence[int]) -> Pixels:
        centres = city.xy[source.region[rows[list(places)]]]
        batches = cut_patches(bands, centres, city.regions.crs, extent_m, size)
        return [picture for batch in batches for picture in _rgb(batch, source, colours)]

    return read


def _colours(source: ImageSource, bands: Sequence[int] | None) -> list[int]:
    """The bands of red, green and blue, counted from 0; one band is grey."""
    if bands is not None:
        wrong = [band for band in bands if not 1 <= band <= source.bands]
        if len(bands) not in (1, 3) or wrong:
            message = f"must be one or three of 1 to {source.bands}, the bands of '{source.name}'"
            raise UserError(Problem(f"--bands {','.join(map(str, bands))}: {message}"))
        return [band - 1 for band in bands] * (3 if len(bands) == 1 else 1)
    if source.bands not in (1, 3):
        message = (
            f"images of '{source.name}' have {source.bands} bands ({', '.join(source.band_names)}), of which none is "
            "known to be red, green or blue; say which by --bands RED,GREEN,BLUE, counted from 1"
        )
        raise UserError(Problem(message))
    return [0, 0, 0] if source.bands == 1 else [0, 1, 2]


def _rgb(pixels: np.ndarray, source: ImageSource, colours: list[int]) -> np.ndarray:
    """uint8[n, h, w, 3] of [n, bands, h, w]; missing pixels are black.

    Bytes are colours as they are; other numbers are stretched from two standard deviations below a band's mean over
    the city to two above it.
    """
    chosen = pixels[:, colours].transpose(0, 2, 3, 1)
    if source.dtype != "uint8":
        low = (source.band_mean - 2 * source.band_std)[colours]
        chosen = (chosen - low) / np.maximum(4 * source.band_std[colours], 1e-12) * 255
    if chosen.dtype == np.uint8:
        return np.ascontiguousarray(chosen)
    return np.rint(np.nan_to_num(chosen)).clip(0, 255).astype(np.uint8)
