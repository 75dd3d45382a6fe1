"""Input features of the floors: numbers of the regions by source, without any learning."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby

import numpy as np
import scipy.sparse
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.feature_extraction.text import TfidfVectorizer

from urbankit.city.city import City
from urbankit.city.image_source import ImageSource

COMPONENTS = 40
TERMS = 100
STATISTICS = ("mean", "std", "min", "max", "centre mean")
_PIXELS_AT_ONCE = 1 << 24

# The order of the columns: sources of the city first, then what components compute themselves.
_POI, _FLOWS, _IMAGES, _CAPTIONS, _TABLES, _COMPONENT = range(6)


@dataclass(frozen=True)
class RawFeatures:
    """A table of input features of a city's regions, without any learning.

    Attributes:
        values: float64 [N, F], NaN where a region lacks the source.
        names: the names of the F columns.
        bound: columns that are valid only in this city, such as coordinates; the floors of another city ignore them.
        sources: what each column comes from, such as `points of interest`; columns of one source are neighbours.
    """

    values: NDArray[np.float64]
    names: tuple[str, ...]
    bound: frozenset[str] = frozenset()
    sources: tuple[str, ...] = ()

    @property
    def blocks(self) -> tuple[int, ...]:
        """The number of columns of each source, in order."""
        return tuple(len(list(columns)) for _, columns in groupby(self.sources or [""] * len(self.names)))

    @classmethod
    def by_region(
        cls, city: City, values: NDArray[np.float64], region: NDArray[np.int64], names: Sequence[str]
    ) -> RawFeatures:
        """Average observations over each region.

        Args:
            city: the city that the regions belong to.
            values: float [M, F], NaN where missing; NaN is left out of the mean.
            region: int [M], the region of each observation.
            names: the names of the F columns.
        """
        sums, count = np.zeros((2, city.n_regions, values.shape[1]))
        np.add.at(sums, region, np.nan_to_num(values))
        np.add.at(count, region, ~np.isnan(values))
        mean = np.divide(sums, count, out=np.full_like(sums, np.nan), where=count > 0)
        return cls(mean, tuple(names))

    @classmethod
    def joined(cls, blocks: Sequence[RawFeatures]) -> RawFeatures:
        """The columns of all blocks side by side."""
        return cls(
            np.hstack([block.values for block in blocks]),
            tuple(name for block in blocks for name in block.names),
            frozenset().union(*(block.bound for block in blocks)),
            tuple(source for block in blocks for source in (block.sources or [""] * len(block.names))),
        )

    def columns(self, names: Sequence[str]) -> RawFeatures:
        """The columns `names`, in this order."""
        index = [self.names.index(name) for name in names]
        sources = tuple(self.sources[i] for i in index) if self.sources else ()
        return RawFeatures(self.values[:, index], tuple(names), self.bound & set(names), sources)

    def filled(self, train: NDArray[np.int64]) -> NDArray[np.float64]:
        """Replace missing values by the median of the `train` regions, and add a 0/1 column for every set of columns
        that are missing together. A column without any value among `train` becomes 0.
        """
        missing = np.isnan(self.values)
        train_values = self.values[train]
        median = np.zeros(train_values.shape[1])
        has_value = ~np.isnan(train_values).all(axis=0)
        median[has_value] = np.nanmedian(train_values[:, has_value], axis=0)
        patterns = np.unique(missing[:, missing.any(axis=0)], axis=1)
        return np.hstack([np.where(missing, median, self.values), patterns.astype(np.float64)])


@dataclass(frozen=True)
class RawSource:
    """Input features that a component reads, computed only when the floors are fitted.

    Attributes:
        name: what is read, such as `images rsi`. Sources of one name are read once.
        read: returns the numbers.
        position: sorts the columns of the floors; sources of equal position stay in the recipe's order.
    """

    name: str
    read: Callable[[], RawFeatures]
    position: tuple[int, int] = (_COMPONENT, 0)


def geometry(city: City) -> RawFeatures:
    """Coordinates of the centre and the logarithm of the area, which every region with a geometry has.

    The area helps the floors to predict densities: for the tracts of New York it raises the spatial R² of the forest
    for population density from 0.54 to 0.76.
    """
    if not city.has_geometry:
        return _nothing(city)
    return RawFeatures(
        np.column_stack([city.xy, np.log(city.area_km2)]),
        ("x", "y", "log area"),
        bound=frozenset({"x", "y"}),
        sources=("centre", "centre", "area"),
    )


def points_of_interest(city: City) -> list[RawSource]:
    """log(1 + count) of points of interest by category and in total; empty for a city without any."""
    return [RawSource("points of interest", lambda: _points_of_interest(city), (_POI, 0))]


def flows(city: City) -> list[RawSource]:
    """Principal components of log(1 + flow) from and to each region, and log totals; empty for a city without flows."""
    return [RawSource("flows", lambda: _flows(city), (_FLOWS, 0))]


def images(city: City, source: str) -> list[RawSource]:
    """Statistics of every band of an image source, averaged over a region's images."""
    if source not in city.image_sources:
        return []
    position = (_IMAGES, city.image_sources.index(source))
    return [RawSource(f"images {source}", lambda: _images(city, source), position)]


def captions(city: City, source: str | None = None) -> list[RawSource]:
    """TF-IDF of the commonest terms in the captions of a source, or of every source."""
    return [
        RawSource(f"captions {name}", partial(_captions, city, name), (_CAPTIONS, index))
        for index, name in enumerate(city.caption_sources)
        if source in (None, name)
    ]


def table(city: City, name: str) -> list[RawSource]:
    """The columns of one of the city's tables."""
    if name not in city.tables:
        return []
    return [RawSource(f"table {name}", lambda: _table(city, name), (_TABLES, city.tables.index(name)))]


def principal_components(matrix: scipy.sparse.sparray, most: int) -> NDArray[np.float64]:
    """Scores [N, k] on the leading k <= `most` principal components of a sparse [N, M]; never made dense."""
    k = min(most, min(matrix.shape) - 1)
    if k < 1 or matrix.nnz == 0:
        return np.empty((matrix.shape[0], 0))
    return PCA(n_components=k, svd_solver="arpack", random_state=0).fit_transform(matrix)


def _points_of_interest(city: City) -> RawFeatures:
    poi = city.poi_counts()
    if poi is None:
        return _nothing(city)
    counts, categories = poi
    # Dense, [N, categories]: categories are few (34 in New York, 23 in the paper).
    values = np.log1p(counts.toarray())
    values = np.column_stack([values, np.log1p(np.asarray(counts.sum(axis=1)).ravel())])
    values[~city.poi_present] = np.nan
    return RawFeatures(values, (*(f"poi:{category}" for category in categories), "poi:total"))


def _flows(city: City) -> RawFeatures:
    flows = city.flows()
    if flows is None:
        return _nothing(city)
    flows = flows.tocsr().astype(np.float64)
    logs = flows.copy()
    logs.data = np.log1p(logs.data)
    columns, components = [], []
    for direction, matrix in (("out", logs), ("in", logs.T.tocsr())):
        scores = principal_components(matrix, COMPONENTS)
        columns.append(scores)
        components += [f"flow {direction} component {i + 1}" for i in range(scores.shape[1])]
    totals = (flows.sum(axis=1), flows.sum(axis=0), flows.diagonal())
    columns.append(np.log1p(np.column_stack([np.asarray(total).ravel() for total in totals])))
    names = (*components, "flow out total", "flow in total", "flow within")
    sources = tuple(" ".join(name.split()[:2]) if name in components else "flow totals" for name in names)
    return RawFeatures(np.hstack(columns), names, bound=frozenset(components), sources=sources)


def _images(city: City, source: str) -> RawFeatures:
    images = city.images(source)
    names = [f"{source} band {band + 1} {name}" for name in STATISTICS for band in range(images.bands)]
    return RawFeatures.by_region(city, _image_statistics(images), np.asarray(images.region), names)


def _image_statistics(images: ImageSource) -> NDArray[np.float64]:
    """Mean, standard deviation, extremes and mean of the central half of every band, float64 [M, 5 * bands]."""
    height, width = images.size
    step = max(1, _PIXELS_AT_ONCE // (height * width * images.bands))
    centre = slice(height // 4, height - height // 4), slice(width // 4, width - width // 4)
    statistics = []
    for start in range(0, len(images.region), step):
        pixels = images.read(np.arange(start, min(start + step, len(images.region)))).astype(np.float32)
        flat = pixels.reshape(len(pixels), images.bands, -1)
        middle = pixels[:, :, centre[0], centre[1]].reshape(len(pixels), images.bands, -1)
        statistics.append(np.hstack([*_moments(flat), *_extremes(flat), _moments(middle)[0]]))
    return np.vstack(statistics) if statistics else np.empty((0, len(STATISTICS) * images.bands))


def _moments(pixels: NDArray[np.float32]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    valid = ~np.isnan(pixels)
    count = valid.sum(axis=2, dtype=np.float64)
    count[count == 0] = np.nan
    mean = np.where(valid, pixels, 0).sum(axis=2, dtype=np.float64) / count
    deviation = np.where(valid, pixels - mean[:, :, None], 0)
    return mean, np.sqrt((deviation**2).sum(axis=2, dtype=np.float64) / count)


def _extremes(pixels: NDArray[np.float32]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Smallest and largest valid pixel; fmin and fmax ignore NaN unless there is nothing else."""
    return np.fmin.reduce(pixels, axis=2).astype(np.float64), np.fmax.reduce(pixels, axis=2).astype(np.float64)


def _captions(city: City, source: str) -> RawFeatures:
    captions = city.captions(source)
    if captions.empty:
        return _nothing(city)
    texts = captions.groupby("region")["text"].agg(" ".join)
    vectorizer = TfidfVectorizer(max_features=TERMS, stop_words="english", sublinear_tf=True, ngram_range=(1, 2))
    try:
        scores = vectorizer.fit_transform(texts.to_numpy(dtype=object))
    except ValueError:  # scikit-learn raises it for captions without any word
        return _nothing(city)
    values = np.full((city.n_regions, scores.shape[1]), np.nan)
    values[texts.index.to_numpy()] = scores.toarray()
    return RawFeatures(values, tuple(f"{source} caption '{term}'" for term in vectorizer.get_feature_names_out()))


def _table(city: City, name: str) -> RawFeatures:
    values, columns = city.table(name)
    return RawFeatures(values, tuple(f"{name}: {column}" for column in columns))


def _nothing(city: City) -> RawFeatures:
    return RawFeatures(np.empty((city.n_regions, 0)), ())
