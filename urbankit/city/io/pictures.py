"""Picture files (JPEG, PNG, WebP, TIFF, BMP, GIF): checked by their header, decoded and resized on all processors."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from urbankit.utils.errors import Problem, UserError
from urbankit.utils.prefetch import thread_map

MAX_PIXELS = 100_000_000
_FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF")
_BATCH_BYTES = 32 << 20
_MOST_PROBLEMS = 20


def decode_pictures(paths: list[Path], size: tuple[int, int]) -> Iterator[np.ndarray]:
    """All pictures, in order, as batches uint8[k, 3, h, w] of RGB.

    Raises `UserError` after the last batch with all pictures that are missing, damaged or too large, or as soon as
    there are more than 20.
    """
    each = max(1, min(256, _BATCH_BYTES // (3 * size[0] * size[1])))
    batch, problems = [], []
    ahead = 8 * (os.cpu_count() or 1)
    # MAX_PIXELS is the limit here; Pillow would warn of pictures a little below it.
    for decoded in thread_map(lambda path: _attempt(path, size), paths, ahead, Image.DecompressionBombWarning):
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


def decode_picture(path: Path, size: tuple[int, int]) -> np.ndarray:
    """One picture as uint8[3, h, w] of RGB, `size` = (h, w).

    It is turned upright (EXIF orientation), scaled until it just covers h x w (averaged if it shrinks) and cropped
    around its centre. Grey and palette pictures become RGB; transparent pixels become black. A picture of 16 bits keeps
    the upper eight. Raises `UserError` for a file that is missing, damaged, of more than `MAX_PIXELS` (read from its
    header, before anything is decoded), or not a picture of 8 or 16 bits.
    """

    def fit(image: Image.Image) -> Image.Image:
        return ImageOps.fit(image, size[::-1], method=Image.Resampling.BICUBIC)

    # Twice the final size leaves the scaling its detail.
    return np.ascontiguousarray(_decode(path, 2 * max(size), fit).transpose(2, 0, 1))


def read_picture(path: Path, longest: int) -> np.ndarray:
    """One picture without cropping, as uint8[h, w, 3] of RGB, shrunk if a side has more than `longest` pixels.

    It is otherwise read as by `decode_picture`, which also states the errors.
    """

    def shrink(image: Image.Image) -> Image.Image:
        image.thumbnail((longest, longest), Image.Resampling.BICUBIC)
        return image

    return _decode(path, longest, shrink)


def _decode(path: Path, enough: int, resize: Callable[[Image.Image], Image.Image]) -> np.ndarray:
    """uint8[h, w, 3]: the picture, decoded with at least `enough` pixels a side, after `resize`."""
    if not path.is_file():
        raise UserError(Problem("image not found", path))
    try:
        with Image.open(path, formats=_FORMATS) as image:
            if image.width * image.height > MAX_PIXELS:
                raise UserError(_too_large(path, f"{image.width:,} x {image.height:,} pixels"))
            # JPEG can be decoded at 1/2, 1/4 or 1/8.
            image.draft(None, (enough, enough))
            return np.array(resize(_rgb(ImageOps.exif_transpose(image), path)))
    except UserError:
        raise
    except Image.DecompressionBombError as error:
        raise UserError(_too_large(path, str(error).split(" exceeds")[0])) from None
    except Exception as error:  # (Pillow's decoders raise errors of many kinds on damaged files)
        raise UserError(Problem(f"image cannot be decoded, truncated or damaged: {error}", path)) from None


def _attempt(path: Path, size: tuple[int, int]) -> np.ndarray | Problem:
    try:
        return decode_picture(path, size)
    except UserError as error:
        return error.problems[0]


def _rgb(image: Image.Image, path: Path) -> Image.Image:
    if image.mode.startswith("I;16"):
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8)).convert("RGB")
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
