"""Level and scale of a target in a new city, from what its regions are like on average."""

import json

import numpy as np
import pytest
from sklearn.linear_model import Ridge

from urbankit.evaluation import city_level
from urbankit.evaluation.city_level import FEWEST, PENALTIES, CityLevel, CityRegression, city_features
from urbankit.registry.component import Use

RNG = np.random.default_rng(0)
NAMES = ["size: 0", "size: 1", "noise: a"]
TABLE = RNG.normal(size=(14, 3)) * [2, 1, 5] + [4, -1, 0]
CITIES = [dict(zip(NAMES, row, strict=True)) for row in TABLE.tolist()]
LEVELS = 3 * TABLE[:, 0] - TABLE[:, 1] + 0.3 * RNG.normal(size=14)


def test_regression_is_the_ridge_with_the_best_leave_one_out_error():
    regression, left_out = CityRegression.fit(LEVELS, CITIES)
    z = (TABLE - TABLE.mean(axis=0)) / TABLE.std(axis=0)
    predicted = np.empty((len(PENALTIES) - 1, 14))
    for row, penalty in enumerate(PENALTIES[:-1]):
        for city in range(14):
            others = np.arange(14) != city
            predicted[row, city] = Ridge(penalty).fit(z[others], LEVELS[others]).predict(z[city : city + 1])[0]
    best = int(np.argmin(np.square(predicted - LEVELS).sum(axis=1)))
    np.testing.assert_allclose(left_out, predicted[best].clip(LEVELS.min(), LEVELS.max()), rtol=1e-8)
    expected = Ridge(PENALTIES[best]).fit(z, LEVELS).predict(z).clip(LEVELS.min(), LEVELS.max())
    np.testing.assert_allclose([regression.predict(city) for city in CITIES], expected, rtol=1e-8)


def test_features_that_say_nothing_leave_the_mean():
    levels = RNG.permutation(LEVELS)
    regression, left_out = CityRegression.fit(levels, [{"noise: a": city["noise: a"]} for city in CITIES])
    if not regression.coefficients.any():
        np.testing.assert_allclose(left_out, (levels.sum() - levels) / 13)
    assert np.square(left_out - levels).sum() <= np.square((levels.sum() - levels) / 13 - levels).sum() + 1e-9


def test_few_cities_have_the_mean_of_the_others():
    few = FEWEST - 1
    regression, left_out = CityRegression.fit(LEVELS[:few], CITIES[:few])
    np.testing.assert_allclose(left_out, (LEVELS[:few].sum() - LEVELS[:few]) / (few - 1))
    assert regression.predict(CITIES[-1]) == pytest.approx(LEVELS[:few].mean())
    one, _ = CityRegression.fit(LEVELS[:1], CITIES[:1])
    assert one.predict(CITIES[3]) == LEVELS[0]


def test_a_feature_that_a_city_lacks_is_at_its_mean_and_names_may_be_spelled_otherwise():
    regression, _ = CityRegression.fit(LEVELS, [*CITIES[:-1], {"Size: 0": 4.0, "size: 1": -1.0}])
    assert regression.names == tuple(NAMES)
    whole = {name: float(centre) for name, centre in zip(NAMES, regression.centre, strict=True)}
    assert regression.predict({}) == pytest.approx(regression.average)
    assert regression.predict(whole) == pytest.approx(regression.average)
    shifted = whole | {"size: 0": whole["size: 0"] + 1}
    respelled = {name.upper(): value for name, value in shifted.items()}
    assert regression.predict(respelled) == regression.predict(shifted) > regression.average


def test_predictions_stay_within_the_levels_of_the_cities():
    regression, _ = CityRegression.fit(LEVELS, CITIES)
    assert regression.predict({"size: 0": 1e9}) == LEVELS.max()
    assert regression.predict({"size: 0": -1e9}) == LEVELS.min()


def test_predictions_are_moved_to_level_and_scale_of_the_city_and_survive_json():
    std = np.exp(0.2 * TABLE[:, 1])
    level, _, other_std = CityLevel.fit(LEVELS, std, CITIES)
    again = CityLevel.load(json.loads(json.dumps(level.facts())))
    values = RNG.normal(size=50) + level.mean.average
    adjusted = again.adjust(values, CITIES[2])
    factor = np.exp(level.log_std.predict(CITIES[2]) - level.log_std.average)
    assert adjusted.std() == pytest.approx(values.std() * factor)
    assert adjusted.mean() - level.mean.predict(CITIES[2]) == pytest.approx(
        factor * (values.mean() - level.mean.average)
    )
    assert np.square(np.log(other_std / std)).mean() < np.square(np.log(std) - np.log(std).mean()).mean() / 4


def test_features_of_a_city_are_means_that_mean_the_same_elsewhere(tiny_city):
    modalities = {
        "shape": Use(name="shape"),
        "poi_counts": Use(name="poi_counts"),
        "place": Use(name="coordinates"),
        "flows": Use(name="flow_profile"),
    }
    features = city_features(modalities, tiny_city)
    area = np.log(np.asarray(tiny_city.area_km2))
    assert features["shape: 0"] == pytest.approx(area.mean())
    assert {name.split(":")[0] for name in features} == {"shape", "poi_counts"}
    assert city_level.city_features({}, tiny_city) == {}
