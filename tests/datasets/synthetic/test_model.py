"""The model against an independent reading of its equations in docs/demo.md."""

import numpy as np
import pytest

from urbankit.datasets.synthetic.activity import POI_CATEGORIES, points_of_interest, trips
from urbankit.datasets.synthetic.air import air
from urbankit.datasets.synthetic.fields import lattice_noise, smooth_field
from urbankit.datasets.synthetic.model import COMMERCIAL, INDUSTRIAL, draw_model


@pytest.fixture(scope="module")
def model():
    return draw_model(225, seed=5)


def test_smooth_fields_have_the_documented_covariance():
    points = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 3.0]])
    draws = np.array([smooth_field(points, np.random.default_rng(seed), 1.5) for seed in range(3000)])
    distance = np.linalg.norm(points[:, None] - points[None], axis=-1)
    np.testing.assert_allclose(draws.T @ draws / len(draws), np.exp(-(distance**2) / (2 * 1.5**2)), atol=0.08)


def test_lattice_noise_is_uniform_and_fixed():
    column, row = np.meshgrid(np.arange(-100, 100), np.arange(-100, 100))
    noise = lattice_noise(column, row, 7)
    assert np.histogram(noise, 10, (0, 1))[0].min() > 3700
    np.testing.assert_array_equal(noise[50:60], lattice_noise(column[50:60], row[50:60], 7))
    assert abs(np.corrcoef(noise[:, 1:].ravel(), noise[:, :-1].ravel())[0, 1]) < 0.02


def test_trips_of_a_region_are_proportional_to_its_residents(model):
    made = model.travel.sum(axis=1)
    np.testing.assert_allclose(made, 0.6 * model.residents, rtol=1e-9)
    assert model.travel.diagonal().max() == 0


def test_trips_follow_the_gravity_law(model):
    blocks = list(trips(model, seed=5))
    assert {"origin_x", "origin_y", "destination_x", "destination_y", "time"} == set(blocks[0].columns)
    total = sum(map(len, blocks))
    assert total == pytest.approx(150 * 225, rel=0.05)
    start = blocks[0][["origin_x", "origin_y"]].to_numpy()
    end = blocks[0][["destination_x", "destination_y"]].to_numpy()
    shuffled = np.random.default_rng(0).permutation(len(end))
    assert np.linalg.norm(start - end, axis=1).mean() < 0.6 * np.linalg.norm(start - end[shuffled], axis=1).mean()


def test_points_of_interest_follow_land_use(model):
    poi = points_of_interest(model, seed=5)
    assert set(poi["category"]) <= set(POI_CATEGORIES) and len(POI_CATEGORIES) == 15
    xy, centres = poi[["x", "y"]].to_numpy(), model.lattice.centres
    nearest = np.linalg.norm(xy[:, None] - centres[None], axis=-1).argmin(axis=1)
    share = model.mixture[nearest]
    factory, office = poi["category"] == "factory", poi["category"] == "office"
    assert share[factory, INDUSTRIAL].mean() > 2 * share[~factory, INDUSTRIAL].mean()
    assert share[office, COMMERCIAL].mean() > 1.25 * share[~office, COMMERCIAL].mean()


def test_trucks_come_from_trip_partners(model):
    """The cause "trucks" by a loop over cells and their partners."""
    effect = air(model, seed=5).causes["trucks"]
    works = model.mixture[:, INDUSTRIAL] * (78.0 / model.spacing_m[:, INDUSTRIAL]) ** 2
    freight = works * (1.1 - model.heaviness) ** 2
    travel = model.travel.toarray()
    expected = np.empty(len(freight))
    for i in range(len(freight)):
        partner = travel[i] + travel[:, i]
        expected[i] = np.sqrt((partner * freight).sum() / partner.sum())
    city = model.lattice.city
    np.testing.assert_allclose(effect, (expected - expected[city].mean()) / expected[city].std(), rtol=1e-9)


def test_plumes_spread_with_distance(model):
    effect = air(model, seed=5).causes["plume"]
    works = model.mixture[:, INDUSTRIAL] * (78.0 / model.spacing_m[:, INDUSTRIAL]) ** 2
    stack = np.sqrt(works * model.heaviness**1.5)
    km = model.lattice.centres / 1000
    distance = np.linalg.norm(km[:, None] - km[None], axis=-1)
    weight = np.where((distance > 0) & (distance <= 6), np.exp(-distance / 1.6), 0)
    expected = weight @ stack / weight.sum(axis=1)
    city = model.lattice.city
    np.testing.assert_allclose(effect, (expected - expected[city].mean()) / expected[city].std(), rtol=1e-9)
