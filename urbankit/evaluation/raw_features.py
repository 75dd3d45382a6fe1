"""The un-learned inputs of a recipe, a plain table: what the floors predict from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.feature_extraction.text import TfidfVectorizer

from urbankit import registry
from urbankit.city.city import City, ImageSource
from urbankit.modalities.features import FeatureEncoder
from urbankit.registry.component import Use

COMPONENTS = 40
TERMS = 100
_PIXELS_AT_ONCE = 1 << 24


class UsesModalitiesAndViews(Protocol):
    """The part of a recipe that says which inputs are used."""

    @property
    def modalities(self) -> Mapping[str, Use]: ...
    @property
    def views(self) -> Mapping[str, Use]: ...


@dataclass(frozen=True)
class RawFeatures:
    """A table of inputs: `values` float64 [N, F], NaN where a region lacks the source, and its F column `names`."""

    values: NDArray[np.float64]
    names: tuple[str, ...]

    def filled(self, train: NDArray[np.int64]) -> NDArray[np.float64]:
        """Missing values replaced by the median of the `train` regions, and one 0/1 column more for every set of
        columns that are missing together. A column without any value among `train` becomes 0."""
        missing = np.isnan(self.values)
        known = self.values[train]
        median = np.zeros(known.shape[1])
        some = ~np.isnan(known).all(axis=0)
        median[some] = np.nanmedian(known[:, some], axis=0)
        patterns = np.unique(missing[:, missing.any(axis=0)], axis=1)
        return np.hstack([np.where(missing, median, self.values), patterns.astype(np.float64)])


def build_raw_features(city: City, recipe: UsesModalitiesAndViews) -> RawFeatures:
    """The inputs the recipe's modalities and views are made of, without any learning.

    Points of interest (log(1 + count) of each category) where the recipe uses them; of flows the leading principal
    components of log(1 + flow) from and to each region, and totals; of each image source band statistics averaged
    over a region's images; of captions TF-IDF of the commonest terms; numeric tables; and what every region has, the
    coordinates of its centre and the logarithm of its area. Without the area, densities would be hidden from the
    floors: in New York's tracts it lifts the forest's spatial R² of population density from 0.54 to 0.76.
    Of encoders of numbers whose numbers are not among these (`shape`, `image_stats`, a plugin's), the features before
    any learning, averaged by region.
    """
    modalities, views = recipe.modalities, recipe.views
    components = {use.name for use in (*modalities.values(), *views.values())}
    captions = {use.params.get("source") for use in modalities.values() if use.name in _CAPTIONS}
    read = {
        use.params.get("source") or use.params.get("table") or name
        for name, use in modalities.items()
        if use.name not in _CAPTIONS
    }
    blocks = [_geometry(city)]
    if components & {"poi", "poi_counts"}:
        blocks.append(_points_of_interest(city))
    if components & {"mobility", "temporal", "flow_profile"}:
        blocks.append(_flows(city))
    blocks += [_bands(city, source) for source in city.image_sources if source in read]
    blocks += [_captions(city, source) for source in city.caption_sources if captions & {source, None}]
    blocks += [_table(city, table) for table in city.tables if table in read]
    blocks += [_features(city, name, use) for name, use in modalities.items() if not _read_above(use)]
    return RawFeatures(
        np.hstack([values for values, _ in blocks]), tuple(name for _, names in blocks for name in names)
    )


# Encoders whose `source` is one of captions, by default all of them.
_CAPTIONS = {"text", "words"}


def _read_above(use: Use) -> bool:
    if use.name == "poi_counts":
        return use.params.get("form", "log") == "log"
    return use.name in {"vit", "text", "geoclip", "table", "coordinates", "words"}


def _geometry(city: City) -> tuple[NDArray, list[str]]:
    return np.column_stack([city.xy, np.log(city.area_km2)]), ["x", "y", "log area"]


def _points_of_interest(city: City) -> tuple[NDArray, list[str]]:
    found = city.poi_counts()
    if found is None:
        return _nothing(city)
    counts, categories = found
    # Dense, [N, categories]: categories are few (34 in New York, 23 in the paper).
    values = np.log1p(counts.toarray())
    values = np.column_stack([values, np.log1p(np.asarray(counts.sum(axis=1)).ravel())])
    values[~city.poi_present] = np.nan
    return values, [*(f"poi:{category}" for category in categories), "poi:total"]


def _flows(city: City) -> tuple[NDArray, list[str]]:
    flows = city.flows()
    if flows is None:
        return _nothing(city)
    flows = flows.tocsr().astype(np.float64)
    logs = flows.copy()
    logs.data = np.log1p(logs.data)
    columns, names = [], []
    for way, matrix in (("out", logs), ("in", logs.T.tocsr())):
        components = principal_components(matrix, COMPONENTS)
        columns.append(components)
        names += [f"flow {way} component {i + 1}" for i in range(components.shape[1])]
    totals = (flows.sum(axis=1), flows.sum(axis=0), flows.diagonal())
    columns.append(np.log1p(np.column_stack([np.asarray(total).ravel() for total in totals])))
    return np.hstack(columns), [*names, "flow out total", "flow in total", "flow within"]


def principal_components(matrix: NDArray | object, most: int) -> NDArray[np.float64]:
    """Scores [N, k] on the leading k <= `most` principal components of a sparse [N, M]; never made dense."""
    k = min(most, min(matrix.shape) - 1)
    if k < 1 or matrix.nnz == 0:
        return np.empty((matrix.shape[0], 0))
    return PCA(n_components=k, svd_solver="arpack", random_state=0).fit_transform(matrix)


def _bands(city: City, source: str) -> tuple[NDArray, list[str]]:
    images = city.images(source)
    values = _by_region(city, _image_statistics(images), np.asarray(images.region))
    names = [f"{source} band {band + 1} {name}" for name in _STATISTICS for band in range(images.bands)]
    return values, names


_STATISTICS = ("mean", "std", "min", "max", "centre mean")


def _image_statistics(images: ImageSource) -> NDArray[np.float64]:
    """Mean, deviation, extremes and mean of the central half of every band of every image, float64 [M, 5 * bands]."""
    height, width = images.size
    step = max(1, _PIXELS_AT_ONCE // (height * width * images.bands))
    centre = slice(height // 4, height - height // 4), slice(width // 4, width - width // 4)
    found = []
    for start in range(0, len(images.region), step):
        pixels = images.read(np.arange(start, min(start + step, len(images.region)))).astype(np.float32)
        flat = pixels.reshape(len(pixels), images.bands, -1)
        middle = pixels[:, :, centre[0], centre[1]].reshape(len(pixels), images.bands, -1)
        found.append(np.hstack([*_moments(flat), *_extremes(flat), _moments(middle)[0]]))
    return np.vstack(found) if found else np.empty((0, len(_STATISTICS) * images.bands))


def _moments(pixels: NDArray[np.float32]) -> tuple[NDArray, NDArray]:
    valid = ~np.isnan(pixels)
    count = valid.sum(axis=2, dtype=np.float64)
    count[count == 0] = np.nan
    mean = np.where(valid, pixels, 0).sum(axis=2, dtype=np.float64) / count
    spread = np.where(valid, pixels - mean[:, :, None], 0)
    return mean, np.sqrt((spread**2).sum(axis=2, dtype=np.float64) / count)


def _extremes(pixels: NDArray[np.float32]) -> tuple[NDArray, NDArray]:
    """Smallest and largest valid pixel; fmin and fmax ignore NaN unless there is nothing else."""
    return np.fmin.reduce(pixels, axis=2).astype(np.float64), np.fmax.reduce(pixels, axis=2).astype(np.float64)


def _captions(city: City, source: str) -> tuple[NDArray, list[str]]:
    captions = city.captions(source)
    if captions.empty:
        return _nothing(city)
    texts = captions.groupby("region")["text"].agg(" ".join)
    vectorizer = TfidfVectorizer(max_features=TERMS, stop_words="english", sublinear_tf=True, ngram_range=(1, 2))
    try:
        scores = vectorizer.fit_transform(texts.to_numpy(dtype=object))
    except ValueError:  # scikit-learn's word for captions that hold no word at all
        return _nothing(city)
    values = np.full((city.n_regions, scores.shape[1]), np.nan)
    values[texts.index.to_numpy()] = scores.toarray()
    return values, [f"{source} caption '{term}'" for term in vectorizer.get_feature_names_out()]


def _table(city: City, table: str) -> tuple[NDArray, list[str]]:
    values, columns = city.table(table)
    return values, [f"{table}: {column}" for column in columns]


def _features(city: City, modality: str, use: Use) -> tuple[NDArray, list[str]]:
    encoder = registry.get("modality_encoder", use.name)
    if not issubclass(encoder, FeatureEncoder) or encoder.requires(encoder.Params(**use.params), city, modality):
        return _nothing(city)
    features, region = registry.create("modality_encoder", use, city, modality, 1).features(city)
    return _by_region(city, features, region), [f"{modality} feature {i + 1}" for i in range(features.shape[1])]


def _by_region(city: City, values: NDArray[np.float64], region: NDArray[np.int64]) -> NDArray[np.float64]:
    """The mean [N, F] over each region's observations [M, F], of those that are not NaN; NaN without any."""
    sums, known = np.zeros((2, city.n_regions, values.shape[1]))
    np.add.at(sums, region, np.nan_to_num(values))
    np.add.at(known, region, ~np.isnan(values))
    return np.divide(sums, known, out=np.full_like(sums, np.nan), where=known > 0)


def _nothing(city: City) -> tuple[NDArray, list[str]]:
    return np.empty((city.n_regions, 0)), []
