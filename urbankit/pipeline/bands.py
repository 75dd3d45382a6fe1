"""The bands of another city's images, in the order that a model was trained with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from urbankit.city.city import City
from urbankit.utils.errors import Problems
from urbankit.utils.names import match_names


def bands_in_order(city: City, trained: Mapping[str, Sequence[str]], problems: Problems) -> tuple[City, list[str]]:
    """Return the city with the bands of its images in the order of the model, and notes.

    Bands are matched by name. If the names are others, they are taken in their order.

    Args:
        city: The city.
        trained: The names of the bands by image source that the model was trained with.
        problems: Gets the image sources that have fewer bands than the model reads.
    """
    orders, notes = {}, []
    for source, names in trained.items():
        if source not in city.image_sources:
            continue
        bands = city.images(source).band_names
        matches = match_names(names, bands)
        listed = f"{', '.join(bands)}; the model was trained with {', '.join(names)}"
        if len(matches) == len(names):
            order = [bands.index(matches[name]) for name in names]
            if order != list(range(len(bands))):
                orders[source] = order
                notes.append(f"images {source}: bands are matched by name: {listed}")
        elif len(bands) == len(names):
            notes.append(f"images {source}: bands have other names and are taken in their order: {listed}")
        else:
            problems.add(f"its bands are not those of the model: {listed}", key=f"images.{source}")
    return (city.with_bands(orders) if orders else city), notes
