"""How clusters differ from their city: the data in which the mean of a cluster is furthest from that of the city."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from urbankit.city.city import City
from urbankit.city.image_source import ImageSource
from urbankit.city.texts import text_of

MOST_TRAITS = 3
LEAST_DIFFERENCE = 0.5
"""Standard deviations of the city by which a cluster differs at least in what is said of it."""

MOST_COLUMNS = 200
"""Tables with more columns are those of a model, whose columns have no names that say anything."""

MOST_PIXELS = 1 << 28
"""Pixels that are read at most of an image source, from a sample of its images."""

_PIXELS_AT_ONCE = 1 << 24
_WORDLESS = re.compile(r"(band|b|column|feature|dim|e|a)?[ _-]?\d+", re.IGNORECASE)
"""Names of bands and columns that only number them."""


class Feature(NamedTuple):
    """One number of every region [N], NaN where it is missing, with its name and the words for high and low values.

    Without a name, the words say everything: `in the north`.
    """

    name: str
    values: NDArray[np.float64]
    high: str = "high"
    low: str = "low"


def traits(features: list[Feature], labels: NDArray[np.int64]) -> list[str]:
    """Return for each cluster what sets it apart, such as `many: restaurant, bank; in the north`.

    A cluster is described by the at most three features in which its mean differs most from that of the city, in
    standard deviations of the city. It is empty for a cluster that differs in none by half a standard deviation.

    Args:
        features: The features of the N regions.
        labels: The cluster of each region [N], 0 to k - 1.
    """
    k = int(labels.max()) + 1
    if not features:
        return [""] * k
    values = np.stack([feature.values for feature in features], axis=1)
    difference = _standardised_difference(values, labels, k)
    order = np.argsort(-np.abs(difference), axis=1, kind="stable")[:, :MOST_TRAITS]
    return [_words(features, difference[cluster], order[cluster]) for cluster in range(k)]


def _standardised_difference(values: NDArray[np.float64], labels: NDArray[np.int64], k: int) -> NDArray[np.float64]:
    """The mean of each cluster less that of the city, in standard deviations of the city, [k, F]; 0 if unknown."""
    valid = np.isfinite(values)
    count = np.maximum(valid.sum(axis=0), 1)
    mean = np.where(valid, values, 0).sum(axis=0) / count
    centred = np.where(valid, values - mean, 0)
    std = np.sqrt((centred**2).sum(axis=0) / count)
    member = np.zeros((k, len(labels)))
    member[labels, np.arange(len(labels))] = 1
    sums, counts = member @ centred, member @ valid
    constant = std <= 1e-9 * np.maximum(np.abs(mean), 1)
    return np.where((counts > 0) & ~constant, sums / np.maximum(counts, 1) / np.where(constant, 1, std), 0.0)


def _words(features: list[Feature], difference: NDArray[np.float64], order: NDArray[np.int64]) -> str:
    by_word: dict[str, list[str]] = {}
    for index in order:
        feature = features[index]
        if abs(difference[index]) >= LEAST_DIFFERENCE:
            by_word.setdefault(feature.high if difference[index] > 0 else feature.low, []).append(feature.name)
    return "; ".join(f"{word}: {', '.join(names)}" if any(names) else word for word, names in by_word.items())


def city_features(city: City) -> list[Feature]:
    """Return the data of a city with names that people understand; targets are not among them.

    Counts are logarithms, as the methods read them: log(1 + count).
    """
    return [*_points_of_interest(city), *_flows(city), *_tables(city), *_images(city), *_geometry(city)]


def _points_of_interest(city: City) -> Iterator[Feature]:
    poi = city.poi_counts()
    if poi is None:
        return
    counts, categories = poi
    logs = np.log1p(counts.toarray())
    for name, column in zip(categories, logs.T, strict=True):
        yield Feature(str(name), column, "many", "few")
    yield Feature("points of interest", np.log1p(np.asarray(counts.sum(axis=1)).ravel()), "many", "few")


def _flows(city: City) -> Iterator[Feature]:
    flows = city.flows()
    if flows is None:
        return
    out, into = (np.asarray(flows.sum(axis=axis), np.float64).ravel() for axis in (1, 0))
    yield Feature("trips from here", np.log1p(out), "many", "few")
    yield Feature("trips to here", np.log1p(into), "many", "few")


def _tables(city: City) -> Iterator[Feature]:
    for name in city.tables:
        values, columns = city.table(name)
        title = text_of(city, f"tables.{name}").title or name
        if len(columns) > MOST_COLUMNS:
            continue
        for column, of_column in zip(columns, values.T, strict=True):
            if not _WORDLESS.fullmatch(str(column)):
                yield Feature(f"{str(column).replace('_', ' ')} ({title})", of_column)


def _images(city: City) -> Iterator[Feature]:
    for name in city.image_sources:
        source = city.images(name)
        bands = [band for band, text in enumerate(source.band_names) if not _WORDLESS.fullmatch(str(text))]
        if not bands or not len(source):
            continue
        means, title = _band_means(source, city.n_regions), text_of(city, f"images.{name}").title or name
        if source.dtype == "uint8" and source.bands == 3:
            yield Feature(title, means.mean(axis=1), "bright", "dark")
            continue
        for band in bands:
            yield Feature(f"{source.band_names[band]} ({title})", means[:, band])


def _band_means(source: ImageSource, n_regions: int) -> NDArray[np.float64]:
    """The mean of every band over the images of a region, [N, bands]; NaN for a region without an image.

    Of a source with very many pixels, a sample of the images is read.
    """
    height, width = source.size
    size = height * width * source.bands
    rows = np.arange(len(source.region))
    if len(rows) * size > MOST_PIXELS:
        rows = np.sort(np.random.default_rng(0).choice(rows, max(1, MOST_PIXELS // size), replace=False))
    sums, counts = np.zeros((2, n_regions, source.bands))
    step = max(1, _PIXELS_AT_ONCE // size)
    for start in range(0, len(rows), step):
        block = rows[start : start + step]
        pixels = source.read(block).reshape(len(block), source.bands, -1)
        valid = np.isfinite(pixels)
        np.add.at(sums, source.region[block], np.where(valid, pixels, 0).sum(axis=2, dtype=np.float64))
        np.add.at(counts, source.region[block], valid.sum(axis=2))
    return np.divide(sums, counts, out=np.full_like(sums, np.nan), where=counts > 0)


def _geometry(city: City) -> Iterator[Feature]:
    if city.has_geometry:
        x, y = city.xy.T
        yield Feature("", x, "in the east", "in the west")
        yield Feature("", y, "in the north", "in the south")
        yield Feature("area", np.log(city.area_km2), "large", "small")
