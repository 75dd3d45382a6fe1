"""How many observations of each kind the regions of a city have."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from urbankit.city.city import City
from urbankit.city.texts import text_of


class Observations(NamedTuple):
    """`number` [N] of what is called `label`, a region; `key` is the name of the source within the city."""

    key: str
    label: str
    number: NDArray[np.float64]


def observations(city: City) -> Iterator[Observations]:
    """Images, captions, points of interest, flows, and columns of each table that have a value.

    A flow from a region to itself counts once. Sources with a title in the city file have it as their label.
    """
    for one in _observations(city):
        key = f"images.{one.key}" if one.key in city.image_sources else one.key
        yield one._replace(label=text_of(city, key).title or one.label)


def _observations(city: City) -> Iterator[Observations]:
    n = city.n_regions
    for name in city.image_sources:
        yield Observations(name, f"images: {name}", _per_region(city.images(name).region, n))
    for name in city.caption_sources:
        regions = city.captions(name)["region"].to_numpy()
        yield Observations(f"captions.{name}", f"captions: {name}", _per_region(regions, n))
    poi = city.poi_counts()
    if poi is not None:
        yield Observations("poi", "points of interest", np.asarray(poi[0].sum(axis=1), np.float64).ravel())
    flows = city.flows()
    if flows is not None:
        out, into = (np.asarray(flows.sum(axis=axis), np.float64).ravel() for axis in (1, 0))
        yield Observations("flows", "flows in and out", out + into - flows.diagonal())
    for name in city.tables:
        number = np.isfinite(city.table(name)[0]).sum(axis=1).astype(np.float64)
        yield Observations(f"tables.{name}", f"columns: {name}", number)


def _per_region(regions: NDArray[np.int64], n: int) -> NDArray[np.float64]:
    return np.bincount(regions, minlength=n).astype(np.float64)
