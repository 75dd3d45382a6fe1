"""Encoders of numbers: observations that are rows of a table, as they are or through a small perceptron."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn
from typing_extensions import TypeVar

from urbankit.city.city import City
from urbankit.city.raw_features import RawFeatures, RawSource
from urbankit.modalities.base import EncoderParams, ModalityEncoder, hash_arrays
from urbankit.modalities.feature_table import FeatureTable
from urbankit.modalities.standardise import Statistics
from urbankit.registry.contract import wrong_return
from urbankit.utils.errors import Problem, UserError

# The weights [out, features] that read the features, whichever the encoder has.
FIRST = ("backbone.0.weight", "projection.weight", "projection.0.weight")


class FeatureParams(EncoderParams):
    """The parameters of every encoder of numbers."""

    hidden: int = Field(
        0, ge=0, description="Width of a two-layer perceptron on the features; 0 uses the features unchanged."
    )


F = TypeVar("F", bound=FeatureParams, default=FeatureParams)


class FeatureEncoder(ModalityEncoder[F, Tensor]):
    """An encoder of numbers: give `features`, and optionally `requires`, `names` and a `Params` derived from
    `FeatureParams`.

    Every feature is standardised over the observations of its city. A missing value (NaN or infinite) becomes the
    feature's mean, and a feature with missing values gets a second column that is 1 where it is missing. The means and
    standard deviations are part of the encoder's state, so that they can standardise the features of another city.
    """

    Params: ClassVar[type[Any]] = FeatureParams
    relative: ClassVar[bool] = False
    """Whether the features are always standardised over the city they are of, whatever city the weights come from."""

    def __init__(self, params: F, city: City, modality: str, dim: int) -> None:
        super().__init__(params, city, modality, dim)
        table = self._read(city)
        self._raw, self._region, self._named = table.values, table.region, table.named
        self._statistics = table.statistics
        self._values = torch.from_numpy(table.standardised)
        features = self._values.shape[1]
        self.backbone: nn.Module = nn.Identity()
        if params.hidden:
            self.backbone = nn.Sequential(
                nn.Linear(features, params.hidden), nn.GELU(), nn.Linear(params.hidden, params.hidden)
            )
        self.connect(params.hidden or features)

    @classmethod
    def raw_features(cls, params: Any, city: City, modality: str) -> list[RawSource]:
        """Return the features themselves, averaged by region, as what the floors read."""

        def read() -> RawFeatures:
            encoder = cls(params, city, modality, 1)
            names = [f"{modality} feature {i + 1}" for i in range(encoder._raw.shape[1])]
            return RawFeatures.by_region(city, encoder._raw, encoder._region, names)

        return [RawSource(f"modality {modality}", read)]

    @classmethod
    def city_features(cls, params: Any, city: City, modality: str) -> dict[str, float]:
        """Return the means of the features, unless they only mean something within a city."""
        if cls.relative or cls.local(params) is not None:
            return {}
        encoder = cls(params, city, modality, 1)
        statistics = encoder._statistics
        exists = np.flatnonzero(np.isfinite(encoder._raw).any(axis=0)).tolist()
        return {f"{modality}: {statistics.names[i]}": float(statistics.mean[i]) for i in exists}

    @abstractmethod
    def features(self, city: City) -> tuple[np.ndarray, np.ndarray]:
        """float[M, F] raw features of M observations, NaN where missing, and the region of each, int[M]."""

    def names(self, city: City) -> list[str] | None:
        """The names of the F features, by which they are found again in another city; None goes by position."""
        return None

    def columns_read(self) -> tuple[np.ndarray, np.ndarray, list[str]] | None:
        return self._raw, self._region, list(self._statistics.names)

    def describe(self, values: np.ndarray, names: list[str]) -> Statistics:
        """What standardises `values` [M, F]."""
        return Statistics.of(values, names)

    def observations(self, of: str | None = None) -> np.ndarray:
        return self._region

    def load(self, rows: np.ndarray, of: str | None = None) -> Tensor:
        return self._values[torch.from_numpy(rows)]

    def forward(self, batch: Tensor) -> Tensor:
        return self.backbone(batch)

    def fingerprint(self, of: str | None = None) -> str:
        return hash_arrays(self._values.numpy())

    def get_extra_state(self) -> Tensor:
        """The statistics that standardise, as JSON in bytes."""
        return _bytes(self._statistics)

    def set_extra_state(self, state: Tensor) -> None:
        if not torch.equal(state.cpu(), self.get_extra_state()):
            self._standardise(_statistics(state))

    def carried(
        self, state: dict[str, Tensor], statistics: Literal["source", "own"]
    ) -> tuple[dict[str, Tensor], list[str]]:
        """As in the base. Features are matched by name, however it is spelled (`match_names`).

        The weights of a feature that the source city lacks are 0. The weights of a feature that this city lacks are
        dropped, as if the feature were at its mean.
        """
        if "_extra_state" not in state:
            raise ValueError("its weights were written by an earlier urbankit and lack the statistics of its features")
        target = self._statistics
        source = _statistics(state["_extra_state"]).renamed(target.names)
        shared = set(source.names) & set(target.names)
        sizes = f"{len(source.names)} features in the source city and {len(target.names)} in this one"
        if not self._named and len(source.names) != len(target.names):
            raise ValueError(f"it has {sizes}, which have no names")
        if not shared:
            names = f"{_some(source.names)} in the source city; {_some(target.names)} in this one"
            raise ValueError(f"the two cities have no feature of the same name: {names}")
        first = next((name for name in FIRST if name in state), None)
        if first is None:
            raise ValueError("no weight reads its features, so no weight can be taken from the other city")
        of_source = statistics == "source" and not self.relative
        selected = source.for_features_of(target) if of_source else target
        weight = _columns(state[first], source.columns, target.columns)
        state = state | {first: weight, "_extra_state": _bytes(selected)}
        notes = []
        if len(shared) < max(len(source.names), len(target.names)):
            notes = [f"features with the same name: {len(shared)}, of {sizes}; the others are not used"]
        return super().carried(state, statistics)[0], notes

    def _read(self, city: City) -> FeatureTable:
        """The features of the city, or of the cities that it joins, as far as they have them."""
        tables, start = [], 0
        for member in city.members.values():
            if len(city.members) == 1 or self.requires(self.params, member, self.modality) is None:
                values, region, names = self._checked(member)
                tables.append(FeatureTable.of(values, region + start, names, self.describe))
            start += member.n_regions
        widths = {table.values.shape[1] for table in tables if not table.named}
        if len(widths) > 1:
            message = f"the cities have {' or '.join(map(str, sorted(widths)))} features without names"
            raise UserError(Problem(f"{message}, which cannot be matched", key=f"modalities.{self.modality}"))
        return FeatureTable.joined(tables)

    def _checked(self, city: City) -> tuple[np.ndarray, np.ndarray, list[str] | None]:
        """What `features` and `names` return for one city. Raises `ComponentError` if it is not as they say."""
        returned, names = self.features(city), self.names(city)
        if not isinstance(returned, tuple | list) or len(returned) != 2:
            problem = "features() is to return two arrays: the values [M, F], and the region of each row [M]"
            raise wrong_return(self, problem)
        values, region = _as_type(returned[0], np.float64), _as_type(returned[1], np.int64)
        if values is None or values.ndim != 2:
            found = _described("values", returned[0])
            raise wrong_return(self, f"features() returned {found}; expected numbers [M, F]")
        if region is None or region.shape != (len(values),):
            found = f"{_described('regions', returned[1])} for {len(values)} rows of values"
            raise wrong_return(self, f"features() returned {found}; expected the row number of a region for each")
        if len(region) and not 0 <= region.min() <= region.max() < city.n_regions:
            found = f"regions from {region.min()} to {region.max()}"
            raise wrong_return(self, f"features() returned {found}; the city has {city.n_regions}, counted from 0")
        if names is not None and len(names) != values.shape[1]:
            raise wrong_return(self, f"names() returned {len(names)} names; features() has {values.shape[1]} columns")
        return values, region, names

    def _standardise(self, statistics: Statistics) -> None:
        self._statistics = statistics
        self._values = torch.from_numpy(statistics.apply(self._raw))


def _as_type(values: Any, kind: type[np.generic]) -> np.ndarray | None:
    """Return `values` as an array of this type, or None if they are no such numbers."""
    array = np.asarray(values)
    if array.dtype.kind not in "biufO":
        return None
    try:
        converted = array.astype(kind)
    except (TypeError, ValueError):
        return None
    return converted if kind is np.float64 or (converted == array).all() else None


def _described(what: str, values: Any) -> str:
    array = np.asarray(values)
    return f"{what} of shape {list(array.shape)} and type {array.dtype}"


def _bytes(statistics: Statistics) -> Tensor:
    return torch.frombuffer(bytearray(statistics.to_json().encode()), dtype=torch.uint8)


def _statistics(state: Tensor) -> Statistics:
    return Statistics.from_json(state.cpu().numpy().tobytes().decode())


def _columns(weight: Tensor, source: list[str], target: list[str]) -> Tensor:
    """Return `weight` [out, columns of `source`] with the columns of `target`; 0 for a column that is new."""
    position = {name: i for i, name in enumerate(source)}
    result = weight.new_zeros(len(weight), len(target))
    shared = [i for i, name in enumerate(target) if name in position]
    result[:, shared] = weight[:, [position[target[i]] for i in shared]]
    return result


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (", …" if len(names) > 3 else "")
