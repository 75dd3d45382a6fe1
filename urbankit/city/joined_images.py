"""The images of one source in several cities, as one source."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from urbankit.city.image_source import ImageSource
from urbankit.utils.errors import Problems
from urbankit.utils.files import hash_json
from urbankit.utils.names import match_names


class JoinedReader:
    """Reads images of several sources by one row number; nothing is kept in memory."""

    def __init__(self, sources: list[ImageSource]) -> None:
        self._sources = sources
        self._ends = np.cumsum([len(source) for source in sources])

    def read(self, rows: NDArray[np.int64]) -> NDArray:
        """The pixels [n, bands, height, width] of `rows`, int [n] in any order."""
        rows = np.asarray(rows)
        if len(rows) and (rows.min() < -self._ends[-1] or rows.max() >= self._ends[-1]):
            raise IndexError(f"there is no image {rows.max()}; there are {self._ends[-1]}")
        rows = np.where(rows < 0, rows + self._ends[-1], rows)
        first = self._sources[0]
        pixels = np.empty((len(rows), first.bands, *first.size), np.dtype(first.dtype))
        of = np.searchsorted(self._ends, rows, side="right")
        for index in np.unique(of):
            selected = of == index
            source = self._sources[index]
            pixels[selected] = source.read(rows[selected] - (self._ends[index] - len(source)))
        return pixels


class JoinedImages(ImageSource):
    """Image sources of one name, whose images follow each other.

    Args:
        name: The name.
        sources: The sources, with the same bands, size and type.
        starts: The index of the first region of each source's city.
    """

    def __init__(self, name: str, sources: list[ImageSource], starts: list[int]) -> None:
        first = sources[0]
        self.name, self.bands, self.band_names, self.size, self.dtype = (
            name, first.bands, list(first.band_names), first.size, first.dtype,
        )  # fmt: skip
        weights = np.array([len(source) for source in sources], np.float64)
        weights = weights / weights.sum() if weights.sum() else np.full(len(sources), 1 / len(sources))
        means = np.stack([source.band_mean for source in sources])
        squares = np.stack([source.band_std**2 + source.band_mean**2 for source in sources])
        self.band_mean = weights @ means
        self.band_std = np.sqrt(np.maximum(weights @ squares - self.band_mean**2, 0.0))
        self.content_hash = hash_json(
            [[start, source.content_hash] for start, source in zip(starts, sources, strict=True)]
        )
        self._order = None
        self._shards = JoinedReader(sources)  # type: ignore[assignment]  # the same `read`
        self.region = np.concatenate([source.region + start for start, source in zip(starts, sources, strict=True)])
        self.lonlat = np.concatenate([source.lonlat for source in sources])
        self.image_ids = [image_id for source in sources for image_id in source.image_ids]
        self.files = [file for source in sources for file in source.files]


def join_images(name: str, members: Mapping[str, tuple[int, ImageSource]]) -> ImageSource:
    """Join the images of one source in several cities.

    Bands are matched by name, and only those that all cities have are kept.

    Args:
        name: The name of the source.
        members: By city, the index of its first region, and its images.

    Raises:
        UserError: If sizes or types of the images differ, or no band is common to all.
    """
    first_city, (_, first) = next(iter(members.items()))
    problems = Problems()
    common = list(first.band_names)
    for city, (_, images) in members.items():
        for what, expected, value in (("size", first.size, images.size), ("type", first.dtype, images.dtype)):
            if value != expected:
                message = f"the {what} of the images is {expected} in {first_city} and {value} in {city}"
                problems.add(f"{message}; prepare both cities with one", key=f"images.{name}")
        common = [band for band in common if band in match_names(common, images.band_names)]
    if not common:
        problems.add("the cities have no band of the same name", key=f"images.{name}")
    problems.raise_if_any()
    sources = []
    for _, images in members.values():
        matches = match_names(common, images.band_names)
        order = [images.band_names.index(matches[band]) for band in common]
        sources.append(images if order == list(range(images.bands)) else images.with_bands(order))
    return JoinedImages(name, sources, [start for start, _ in members.values()])
