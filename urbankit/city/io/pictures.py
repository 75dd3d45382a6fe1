"""Picture files (JPEG, PNG, WebP, TIFF, BMP, GIF): checked by their header, decoded and resized on all processors."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, ImageOps
from rasterio.enums import ColorInterp
from rasterio.errors import NotGeoreferencedWarning

from urbankit.city.io.access import gdal_raster
from urbankit.utils.content import explain_content
from urbankit.utils.errors import Problem, UserError
from urbankit.utils.prefetch import thread_map

MAX_PIXELS = 100_000_000
_FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF")
_BATCH_BYTES = 32 << 20
_MOST_PROBLEMS = 20
_SAMPLE = 32


def decode_pictures(paths: list[Path], size: tuple[int, int]) -> Iterator[np.ndarray]:
    """All pictures, in order, as batches uint8[k, 3, h, w] of RGB.

    Raises `UserError` after the last batch with all pictures that are missing, damaged or too large, or as soon as
    there are more than 20.
    """
    each = max(1, min(256, _BATCH_BYTES // (3 * size[0] * size[1])))
    batch, problems = [], []
    ahead = 8 * (os.cpu_count() or 1)
    # MAX_PIXELS is the limit here; Pillow would warn of pictures a little below it.
    bits = _bits(paths)
    for decoded in thread_map(lambda path: _attempt(path, size, bits), paths, ahead, Image.DecompressionBombWarning):
        if isinstance(decoded, Problem):
            if decoded not in problems:
                problems.append(decoded)
            if len(problems) > _MOST_PROBLEMS:
                problems[-1] = Problem("further pictures cannot be used either; the remaining ones were not checked")
                break
            continue
        batch.append(decoded)
        if len(batch) == each:
            yield np.stack(batch)
            batch = []
    if problems:
        raise UserError(problems)
    if batch:
        yield np.stack(batch)


def decode_picture(path: Path, size: tuple[int, int], bits: int = 16) -> np.ndarray:
    """One picture as uint8[3, h, w] of RGB, `size` = (h, w).

    It is turned upright (EXIF orientation), scaled until it just covers h x w (averaged if it shrinks) and cropped
    around its centre. Grey and palette pictures become RGB; transparent pixels become black. Of a picture of 16 bits,
    of which the lower `bits` are used, the upper eight of these are kept. Raises `UserError` for a file that is
    missing, damaged, of more than `MAX_PIXELS` (read from its header, before anything is decoded), or not a picture of
    8 or 16 bits.
    """

    def fit(image: Image.Image) -> Image.Image:
        return ImageOps.fit(image, size[::-1], method=Image.Resampling.BICUBIC)

    # Twice the final size leaves the scaling its detail.
    return np.ascontiguousarray(_decode(path, 2 * max(size), fit, bits).transpose(2, 0, 1))


def read_picture(path: Path, longest: int) -> np.ndarray:
    """One picture without cropping, as uint8[h, w, 3] of RGB, shrunk if a side has more than `longest` pixels.

    It is otherwise read as by `decode_picture`, which also states the errors.
    """

    def shrink(image: Image.Image) -> Image.Image:
        image.thumbnail((longest, longest), Image.Resampling.BICUBIC)
        return image

    return _decode(path, longest, shrink, _bits([path]))


def _decode(path: Path, enough: int, resize: Callable[[Image.Image], Image.Image], bits: int) -> np.ndarray:
    """uint8[h, w, 3]: the picture, decoded with at least `enough` pixels a side, after `resize`."""
    if not path.is_file():
        raise UserError(Problem("image not found", path))
    try:
        with Image.open(path, formats=_FORMATS) as image:
            if image.width * image.height > MAX_PIXELS:
                raise UserError(_too_large(path, f"{image.width:,} x {image.height:,} pixels"))
            # JPEG can be decoded at 1/2, 1/4 or 1/8.
            image.draft(None, (enough, enough))
            upright = _eight_bits(image, path, bits) if _is_deep(image) else ImageOps.exif_transpose(image)
            return np.array(resize(_rgb(upright, path)))
    except UserError:
        raise
    except Image.DecompressionBombError as error:
        raise UserError(_too_large(path, str(error).split(" exceeds")[0])) from None
    except Exception as error:  # (Pillow's decoders raise errors of many kinds on damaged files)
        message = f"image cannot be decoded, truncated or damaged: {error}{explain_content(path)}"
        raise UserError(Problem(message, path)) from None


def _attempt(path: Path, size: tuple[int, int], bits: int) -> np.ndarray | Problem:
    try:
        return decode_picture(path, size, bits)
    except UserError as error:
        return error.problems[0]


def _bits(paths: list[Path]) -> int:
    """How many bits the pictures of 16 bits use: cameras store 10, 12 or 14 in 16. It is read off some of them."""
    highest = 0
    for path in paths[:: max(1, len(paths) // _SAMPLE)]:
        try:
            with Image.open(path, formats=_FORMATS) as image:
                if _is_deep(image) and image.width * image.height <= MAX_PIXELS:
                    highest = max(highest, int(_deep_pixels(image, path)[0].max()))
        except Exception:
            continue
    return next((bits for bits in (8, 10, 12, 14) if 0 < highest < 1 << bits), 16)


def _is_deep(image: Image.Image) -> bool:
    """Whether a picture has 16 bits a channel."""
    return image.mode.startswith("I;16") or any(";16" in str(tile[3]) for tile in getattr(image, "tile", []))


def _deep_pixels(image: Image.Image, path: Path) -> tuple[np.ndarray, np.ndarray | None]:
    """Colours uint16[h, w, 1 or 3] and opacity uint16[h, w], None if all is opaque.

    Pillow would cut pictures of several channels to 8 bits.
    """
    if image.mode.startswith("I;16"):
        return np.asarray(image).astype(np.uint16)[:, :, None], None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with gdal_raster(path) as dataset:
            channels, alpha = dataset.read().transpose(1, 2, 0), ColorInterp.alpha in dataset.colorinterp
            opacity = channels[:, :, dataset.colorinterp.index(ColorInterp.alpha)] if alpha else None
    return channels[:, :, : 3 if channels.shape[2] >= 3 else 1], opacity


def _eight_bits(image: Image.Image, path: Path, bits: int) -> Image.Image:
    """A picture of 16 bits with the upper eight of the bits that are used, upright."""
    orientation = image.getexif().get(ExifTags.Base.Orientation)
    colours, opacity = _deep_pixels(image, path)
    pixels = np.minimum(colours >> (bits - 8), 255).astype(np.uint8)
    result = Image.fromarray(pixels if pixels.shape[2] == 3 else pixels[:, :, 0])
    if opacity is not None:
        result.putalpha(Image.fromarray((opacity >> 8).astype(np.uint8)))
    result.getexif()[ExifTags.Base.Orientation] = orientation or 1
    return ImageOps.exif_transpose(result)


def _rgb(image: Image.Image, path: Path) -> Image.Image:
    if image.mode in ("I", "F"):
        raise UserError(Problem("holds numbers, not colours; give it as a `mosaic` instead", path))
    if "A" in image.mode or "transparency" in image.info:
        colours = image.convert("RGBA")
        opaque = Image.new("RGB", image.size)
        opaque.paste(colours, mask=colours.getchannel("A"))
        return opaque
    return image.convert("RGB")


def _too_large(path: Path, what: str) -> Problem:
    limit = f"{MAX_PIXELS // 1_000_000} million pixels"
    return Problem(f"image too large: {what}, the limit is {limit}; cut it up, or give it as a `mosaic`", path)
