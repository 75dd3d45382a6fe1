"""The synthetic city is neither easy nor hopeless: floors see a part, the latent state and the graph the rest."""

from types import SimpleNamespace

import numpy as np
import pytest
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.metrics import f1_score, r2_score
from sklearn.neighbors import KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from urbankit.datasets.synthetic.air import air
from urbankit.datasets.synthetic.model import BUILDING_M, draw_model
from urbankit.evaluation.raw_features import build_raw_features
from urbankit.evaluation.splits import make_split
from urbankit.registry.component import Use

REGRESSIONS = ["co", "pm25", "population_density"]


@pytest.fixture(scope="module")
def raw(town) -> np.ndarray:
    """What the floors see, [N, F]."""
    recipe = SimpleNamespace(
        modalities={name: Use(name=use) for name, use in (("rsi", "vit"), ("svi", "vit"), ("text", "text"))},
        views={name: Use(name=name) for name in ("poi", "mobility", "distance")},
    )
    return build_raw_features(town, recipe).filled(np.arange(town.n_regions))


@pytest.fixture(scope="module")
def latent(town) -> tuple[np.ndarray, np.ndarray]:
    """The latent state of the regions themselves, and what the trips and the wind carry to them."""
    model = draw_model(town.n_regions, seed=7)
    floor_area = model.mixture * (BUILDING_M / model.spacing_m) ** 2 * model.storeys
    local = np.column_stack(
        [model.mixture, model.compactness, model.stature, model.greenness, model.heaviness, np.log(floor_area)]
    )
    carried = np.column_stack([np.log(model.residents), *air(model, seed=7).causes.values()])
    return local[model.lattice.city], carried[model.lattice.city]


def forest_r2(x: np.ndarray, y: np.ndarray, xy: np.ndarray, protocol: str = "random") -> float:
    scores = []
    for seed in (0, 1):
        split = make_split(protocol, xy, seed)
        model = RandomForestRegressor(60, max_features=0.2, random_state=0).fit(x[split.train], y[split.train])
        scores.append(r2_score(y[split.test], model.predict(x[split.test])))
    return float(np.mean(scores))


def ridge_r2(x: np.ndarray, y: np.ndarray, xy: np.ndarray) -> float:
    scores = []
    for seed in range(4):
        split = make_split("spatial", xy, seed)
        model = make_pipeline(StandardScaler(), RidgeCV(np.logspace(-2, 4, 13))).fit(x[split.train], y[split.train])
        scores.append(r2_score(y[split.test], model.predict(x[split.test])))
    return float(np.mean(scores))


def macro_f1(model, x: np.ndarray, y: np.ndarray, xy: np.ndarray) -> float:
    split = make_split("random", xy, 0)
    return float(
        f1_score(y[split.test], model.fit(x[split.train], y[split.train]).predict(x[split.test]), average="macro")
    )


def test_prepare_finds_nothing_wrong(town):
    coverage = town.coverage().set_index(["kind", "name"])["share"]
    assert coverage["image", "rsi"] == coverage["captions", "rsi"] == 1
    assert coverage["flows", "flows"] > 0.97 and coverage["poi", "poi"] > 0.95
    assert (coverage["target"] == 1).all()
    assert 0.7 < coverage["image", "svi"] < 0.9
    assert all(not source.dropped for source in town.report.sources)


def test_raster_targets_match_the_model(town):
    model = draw_model(town.n_regions, seed=7)
    city, weather = model.lattice.city, air(model, seed=7)
    for name, truth in (("co", weather.co), ("pm25", weather.pm25), ("population_density", model.residents)):
        assert np.corrcoef(town.target(name).values, truth[city])[0, 1] > 0.96, name


@pytest.mark.parametrize("target", REGRESSIONS)
def test_floors_explain_part_of_the_regression_targets(town, raw, target):
    y = town.target(target).values
    assert 0.15 < forest_r2(raw, y, town.xy) < 0.75
    near = []
    for seed in range(3):
        split = make_split("spatial", town.xy, seed)
        model = KNeighborsRegressor(5).fit(town.xy[split.train], y[split.train])
        near.append(r2_score(y[split.test], model.predict(town.xy[split.test])))
    assert np.mean(near) < 0.6


def test_floors_explain_part_of_land_use(town, raw):
    y = town.target("land_use").values.astype(str)
    model = RandomForestClassifier(200, class_weight="balanced", random_state=0)
    assert 0.35 < macro_f1(model, raw, y, town.xy) < 0.75


def test_random_labels_score_near_zero(town, raw):
    shuffle = np.random.default_rng(0).permutation(town.n_regions)
    for target in REGRESSIONS:
        assert forest_r2(raw, town.target(target).values[shuffle], town.xy) < 0.1, target
    y = town.target("land_use").values.astype(str)[shuffle]
    assert macro_f1(RandomForestClassifier(100, random_state=0), raw, y, town.xy) < 0.3


def test_the_latent_state_explains_the_targets(town, latent):
    local, carried = latent
    both = np.hstack([local, carried])
    assert ridge_r2(both, town.target("co").values, town.xy) > 0.85
    assert ridge_r2(both, town.target("pm25").values, town.xy) > 0.85
    assert ridge_r2(both, np.log(town.target("population_density").values), town.xy) > 0.85
    y = town.target("land_use").values.astype(str)
    assert macro_f1(make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000)), local, y, town.xy) > 0.8


def test_air_quality_needs_the_graph(town, latent):
    local, carried = latent
    both = np.hstack([local, carried])
    for target, gain in (("co", 0.4), ("pm25", 0.2)):
        y = town.target(target).values
        assert ridge_r2(both, y, town.xy) > ridge_r2(local, y, town.xy) + gain, target
