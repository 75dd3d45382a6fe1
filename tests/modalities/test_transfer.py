"""Encoders take the state of another city's over, where it can be made to fit."""

import numpy as np
import pytest
import torch
from helpers.fake_city import FakeCity

from urbankit.modalities.coordinates import Coordinates
from urbankit.modalities.features import FeatureEncoder
from urbankit.modalities.standardise import Statistics


class Named(FeatureEncoder):
    """Whatever columns it is given."""

    columns: dict[str, np.ndarray]

    def features(self, city):
        values = np.column_stack(list(self.columns.values()))
        return values, np.arange(len(values))

    def names(self, city):
        return list(self.columns)


class Unnamed(Named):
    def names(self, city):
        return None


def encoder(kind: type[Named], hidden: int = 0, **columns: list[float]) -> Named:
    made = type(kind.__name__, (kind,), {"columns": {name: np.array(values) for name, values in columns.items()}})
    return made(made.Params(hidden=hidden), FakeCity(), "numbers", 4)


def vectors(encoder: Named) -> torch.Tensor:
    rows = np.arange(len(encoder.observations()))
    return encoder.project(encoder(encoder.load(rows)))


@pytest.mark.parametrize("hidden", [0, 8])
def test_features_are_matched_by_name(hidden: int) -> None:
    """In another order, one with missing values: the vectors are those that the other encoder gives."""
    nan = float("nan")
    source = encoder(Named, hidden, a=[1, 2, 4], b=[0, 5, 10], c=[3, nan, 5])
    target = encoder(Named, hidden, c=[3, nan, 5], a=[1, 2, 4], b=[0, 5, 10])
    state, notes = target.carried(source.state_dict(), "source")
    target.load_state_dict(state)
    torch.testing.assert_close(vectors(target), vectors(source))
    assert notes == []


def test_feature_of_only_one_city_is_not_used() -> None:
    source = encoder(Named, a=[1, 2, 4], gone=[1, 1, 7])
    target = encoder(Named, new=[9, 8, 0], a=[1, 2, 4])
    state, notes = target.carried(source.state_dict(), "source")
    target.load_state_dict(state)
    expected = source.load(np.arange(3))[:, :1] @ source.projection.weight[:, :1].T
    torch.testing.assert_close(vectors(target), expected)
    assert notes == [
        "features with the same name: 1, of 2 features in the source city and 2 in this one; the others are not used"
    ]


def test_source_statistics_standardise_the_values_of_the_target_city() -> None:
    """And what lies beyond all that the source has is cut to its range."""
    source, target = encoder(Named, a=[0, 2, 4]), encoder(Named, a=[1, 3, 50])
    target_state, _ = target.carried(source.state_dict(), "own")
    source_state, _ = target.carried(source.state_dict(), "source")
    target.load_state_dict(target_state)
    np.testing.assert_allclose(
        target.load(np.arange(3)).ravel(), (np.array([1, 3, 50]) - 18) / np.std([1, 3, 50]), rtol=1e-6
    )
    target.load_state_dict(source_state)
    np.testing.assert_allclose(
        target.load(np.arange(3)).ravel(), (np.array([1, 3, 4]) - 2) / np.std([0, 2, 4]), rtol=1e-6
    )


@pytest.mark.parametrize(
    ("kind", "features", "reason"),
    [
        (
            Unnamed,
            {"x": [1, 2, 3], "y": [1, 2, 3], "z": [1, 2, 3]},
            "it has 2 features in the source city and 3 in this one",
        ),
        (
            Named,
            {"x": [1, 2, 3], "y": [1, 2, 3]},
            "no feature of the same name: a, b in the source city; x, y in this one",
        ),
    ],
)
def test_features_that_do_not_match_are_refused_with_the_reason(kind: type[Named], features: dict, reason: str) -> None:
    source = encoder(kind, a=[1, 2, 3], b=[4, 5, 6])
    with pytest.raises(ValueError, match=reason):
        encoder(kind, **features).carried(source.state_dict(), "source")


def test_coordinates_stay_relative_to_their_city() -> None:
    cities = [FakeCity(0), FakeCity(1)]
    for city in cities:
        city.xy = city.lonlat * 1e5
    one, two = (Coordinates(Coordinates.Params(), city, "coordinates", 4) for city in cities)
    before = two.load(np.arange(12)).clone()
    two.load_state_dict(two.carried(one.state_dict(), "source")[0])
    assert torch.equal(two.load(np.arange(12)), before) and torch.equal(two.projection.weight, one.projection.weight)


def test_statistics_are_unchanged_by_json() -> None:
    values = np.random.default_rng(0).normal(size=(20, 3)) * [1e-9, 1, 1e9]
    values[3, 1] = np.nan
    one = Statistics.of(values, ["a", "b", "c"])
    assert np.array_equal(Statistics.from_json(one.to_json()).apply(values), one.apply(values))
    assert one.columns == ["a", "b", "c", "b missing"]


@pytest.mark.parametrize("text", ["", "[1]", '{"names": ["a"], "mean": [1.0], "std": [1.0], "flagged": []}'])
def test_statistics_of_another_version_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="another version of urbankit; run its recipe again"):
        Statistics.from_json(text)
