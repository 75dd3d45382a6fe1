"""Which bands of an image show a place in the colours that an eye would see."""

from __future__ import annotations

from urbankit.city.image_source import ImageSource


def colour_bands(images: ImageSource) -> list[int] | None:
    """The bands that are red, green and blue, by their names or as a photograph has them; None where none are."""
    names = [name.lower().rsplit(":", 1)[-1] for name in images.band_names]
    usual = [("red", "r", "b04", "b4"), ("green", "g", "b03", "b3"), ("blue", "b", "b02", "b2")]
    found = [next((names.index(name) for name in known if name in names), -1) for known in usual]
    if min(found) >= 0:
        return found
    return [0, 1, 2] if images.bands == 3 and images.dtype == "uint8" else None
