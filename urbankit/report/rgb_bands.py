"""The red, green and blue bands of an image source."""

from __future__ import annotations

from urbankit.city.image_source import ImageSource


def colour_bands(images: ImageSource) -> list[int] | None:
    """The indices of the red, green and blue bands, by name or as in a photograph; None if there are none."""
    names = [name.lower().rsplit(":", 1)[-1] for name in images.band_names]
    usual = [("red", "r", "b04", "b4"), ("green", "g", "b03", "b3"), ("blue", "b", "b02", "b2")]
    bands = [next((names.index(name) for name in candidates if name in names), -1) for candidates in usual]
    if min(bands) >= 0:
        return bands
    return [0, 1, 2] if images.bands == 3 and images.dtype == "uint8" else None
