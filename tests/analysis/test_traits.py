"""What sets clusters apart, against values computed by hand."""

from types import SimpleNamespace

import numpy as np
import pytest
import scipy.sparse
from helpers.report_runs import image_source

from urbankit.analysis import traits as module
from urbankit.analysis.traits import Feature, city_features, traits

LABELS = np.array([0, 0, 0, 0, 1, 1])


def test_cluster_is_described_by_the_features_furthest_from_the_mean_of_the_city() -> None:
    features = [
        Feature("bank", np.array([0, 0, 0, 0, 3.0, 3]), "many", "few"),
        Feature("shop", np.array([0, 0, 1, 0, 3.0, 2]), "many", "few"),
        Feature("income", np.array([2, 2, 2, 1, 0, 0.0])),
        Feature("", np.array([1, 2, 3, 4, 1, 1.0]), "in the east", "in the west"),
        Feature("noise", np.array([1, -1, 1, -1, 1, -1.0])),
        Feature("constant", np.full(6, 5.0)),
    ]
    # Means of cluster 1 in standard deviations of the city: 1.414, 1.26, -1.37, -0.88, 0, and none for the constant.
    assert traits(features, LABELS) == ["few: bank, shop; high: income", "many: bank, shop; low: income"]


def test_missing_values_are_left_out_and_an_ordinary_cluster_has_no_description() -> None:
    values = np.array([np.nan, 1, 2, 1, np.nan, np.nan])
    assert traits([Feature("a", values)], LABELS) == ["", ""]
    assert traits([], LABELS) == ["", ""]
    assert traits([Feature("a", np.array([1, 2, 1, 2, 1.4, 1.6]))], LABELS) == ["", ""]


def test_city_features_are_its_data_without_columns_that_are_only_numbered() -> None:
    source = image_source("svi", np.arange(4))
    columns = (np.arange(8.0).reshape(4, 2), ["median_income", "e01"])
    city = SimpleNamespace(
        n_regions=4,
        poi_counts=lambda: (scipy.sparse.csr_array(np.arange(4.0)[:, None]), ["工业区"]),
        flows=lambda: None,
        tables=["census"],
        table=lambda name: columns,
        image_sources=["svi"],
        images=lambda name: source,
        has_geometry=False,
    )
    city.members, city.manifest = {"x": city}, {"spec": {"tables": {"census": {"title": "Census 2020"}}}}
    features = city_features(city)
    names = [feature.name for feature in features]
    assert names == [
        "工业区",
        "points of interest",
        "median income (Census 2020)",
        "svi",
    ]
    np.testing.assert_allclose(features[0].values, np.log1p(np.arange(4)))
    np.testing.assert_allclose(features[3].values, np.arange(4) * 3)
    assert features[3].high == "bright"


def test_a_source_with_many_pixels_is_sampled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_PIXELS", 2 * 16 * 24 * 3)
    means = module._band_means(image_source("rsi", np.arange(10)), 10)
    assert np.isfinite(means[:, 0]).sum() == 2
    valid = np.isfinite(means[:, 0])
    np.testing.assert_allclose(means[valid, 0], np.flatnonzero(valid) * 3)
