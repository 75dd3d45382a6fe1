"""`UrbanEmbedding`: embeddings of regions as a scikit-learn transformer of region ids."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import geopandas as gpd
import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils import Tags
from sklearn.utils.validation import check_is_fitted

from urbankit.city.city import City
from urbankit.city.ids import RegionIds
from urbankit.export.tables import dimension_names
from urbankit.pipeline.model import Model
from urbankit.pipeline.model_files import is_model_folder
from urbankit.registry.models import is_model_name
from urbankit.runs.folder import Run
from urbankit.utils.errors import UserError

UNKNOWN = ("error", "nan", "mean")


class WrongIds(UserError, ValueError):
    """Ids of no region; a `ValueError` too, which is what scikit-learn's users catch."""


class UrbanEmbedding(TransformerMixin, BaseEstimator):
    """Turns one column of region ids into embeddings [n, dim].

    `run` is a run folder or a `Run`, whose embeddings are read. With `city` (a prepared city, its folder or a city
    file) it may be a model folder or a `Model`, which embeds the regions of that city. Ids are compared as text; a
    number is the id that is written so, padded with zeros where all ids are digits of one width. `unknown` says what
    happens for an unknown id: `error`, a row of `nan`, or the `mean` of all regions. `fit` reads or computes the
    embeddings, and learns nothing from `X`.

    >>> embedding = UrbanEmbedding("runs/new-york")
    >>> model = make_pipeline(embedding, RidgeCV()).fit(table[["tract"]], table["rent"])
    >>> ColumnTransformer([("region", embedding, ["tract"])], remainder="passthrough")

    Attributes:
        region_ids_: the ids of the N regions, text [N].
        vectors_: their embeddings, float32 [N, dim].
    """

    def __init__(
        self,
        run: str | Path | Run | Model | None = None,
        *,
        city: str | Path | City | None = None,
        unknown: Literal["error", "nan", "mean"] = "error",
    ) -> None:
        self.run = run
        self.city = city
        self.unknown = unknown

    def fit(self, X: ArrayLike, y: object = None) -> UrbanEmbedding:
        """Read or compute the embeddings.

        Raises `UserError` for a folder that has no embeddings or does not fit the city, and for `X` of more than one
        column.
        """
        if self.run is None:
            raise UserError("UrbanEmbedding: name the run that has the embeddings, such as UrbanEmbedding('runs/mine')")
        if self.unknown not in UNKNOWN:
            raise UserError(f"UrbanEmbedding: unknown is one of {', '.join(UNKNOWN)}, not '{self.unknown}'")
        _column(X)
        embeddings = self._embeddings(self.run)
        self.region_ids_: NDArray[np.object_] = embeddings["region_id"].astype(str).to_numpy(dtype=object)
        self.vectors_: NDArray[np.float32] = np.stack(embeddings["embedding"].to_list()).astype(np.float32, copy=False)
        self.n_features_in_ = 1
        names = getattr(X, "columns", None)
        if names is not None:
            self.feature_names_in_ = np.asarray(names, dtype=object)
        return self

    def transform(self, X: ArrayLike) -> NDArray[np.float32]:
        """The embeddings [n, dim], float32, of the ids `X` [n] or [n, 1]. Raises `UserError` for unknown ids."""
        check_is_fitted(self)
        column = _column(X)
        ids = RegionIds(self.region_ids_.tolist())
        rows = ids.find(column)
        lost = rows < 0
        if lost.any() and self.unknown == "error":
            raise WrongIds(f"UrbanEmbedding: {ids.unknown(column[lost])}{_of_numbers(column, ids)}")
        vectors = self.vectors_[rows]
        if lost.any():
            vectors[lost] = np.nan if self.unknown == "nan" else self.vectors_.mean(axis=0)
        return vectors

    def get_feature_names_out(self, input_features: object = None) -> NDArray[np.object_]:
        """The names of the columns, `e00` to `e63` of 64 dimensions, as in exported tables."""
        check_is_fitted(self)
        return np.asarray(dimension_names(self.vectors_.shape[1]), dtype=object)

    def _embeddings(self, run: str | Path | Run | Model) -> gpd.GeoDataFrame:
        if self.city is None:
            if isinstance(run, Run):
                return run.embeddings
            if isinstance(run, Model) or is_model_folder(Path(run)) or is_model_name(run):
                raise UserError(
                    "UrbanEmbedding: a model has no regions; name its city, UrbanEmbedding(model, city=...)"
                )
            return Run.open(run).embeddings
        model = run if isinstance(run, Model) else Model.open(run.path if isinstance(run, Run) else run)
        return model.embed(self.city)

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.one_d_array = True
        tags.input_tags.string = True
        tags.input_tags.categorical = True
        tags.input_tags.allow_nan = True
        tags.transformer_tags.preserves_dtype = []
        return tags


def _column(X: ArrayLike) -> NDArray[Any]:
    """The ids [n] of a series, a table of one column, or an array [n] or [n, 1]."""
    if hasattr(X, "tocsr"):
        raise WrongIds("UrbanEmbedding: sparse input is not supported; it takes one column of region ids")
    # A list of ids becomes objects, so that numbers in it do not turn into text of another form.
    dtype = None if hasattr(X, "dtype") else object
    values = X.to_numpy() if hasattr(X, "to_numpy") else np.asarray(X, dtype=dtype)
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    if values.ndim != 1:
        raise WrongIds(
            f"UrbanEmbedding: takes one column of region ids, not an array of shape {values.shape}; "
            "choose the column, table[['region_id']]"
        )
    if values.dtype.kind == "c":
        raise WrongIds("UrbanEmbedding: Complex data not supported; it takes one column of region ids")
    return values


def _of_numbers(column: NDArray[Any], ids: RegionIds) -> str:
    """Return a hint if the ids are numbers and those of the regions are text in another form."""
    if column.dtype.kind not in "iuf" or not ids.ids:
        return ""
    example = next((name for name in ids.ids if name.startswith("0")), ids.ids[0])
    return (
        f". The ids given are numbers ({column.dtype}), those of the regions text such as '{example}': read the column "
        "as text (dtype=str), which keeps leading zeros"
    )
