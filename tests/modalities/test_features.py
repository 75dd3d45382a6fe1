"""Encoders of numbers, against numpy and scikit-learn."""

import numpy as np
import pytest
import torch
from helpers.fake_city import FakeCity
from scipy import sparse
from sklearn.preprocessing import StandardScaler

from urbankit.modalities.features import FeatureEncoder
from urbankit.modalities.flow_profile import FlowProfile, flow_profile
from urbankit.modalities.image_stats import ImageStats, image_stats
from urbankit.modalities.poi_counts import PoiCounts
from urbankit.modalities.pooling import RegionEncoder
from urbankit.modalities.standardise import Statistics
from urbankit.modalities.table import Table
from urbankit.utils.errors import UserError


def rows(encoder: FeatureEncoder) -> np.ndarray:
    return encoder.load(np.arange(len(encoder.observations()))).numpy()


def standardised(values: np.ndarray) -> np.ndarray:
    return Statistics.of(values, [str(column) for column in range(values.shape[1])]).apply(values)


def test_standardised_equals_scikit_learn_without_missing_values() -> None:
    values = np.random.default_rng(0).normal([5, -1e6, 3e-9], [2, 1e3, 1e-9], (40, 3))
    np.testing.assert_allclose(standardised(values), StandardScaler().fit_transform(values), atol=1e-4)


def test_missing_values_become_the_mean_with_a_flag_and_constant_columns_stay_constant() -> None:
    values = np.array([[1.0, 2.0, 7.0], [np.nan, 4.0, 7.0], [3.0, np.inf, 7.0], [5.0, 6.0, 7.0]])
    one, two = 2 / np.std([1, 3, 5]), 2 / np.std([2, 4, 6])
    expected = np.array([[-one, -two, 0, 0, 0], [0, 0, 0, 1, 0], [0, 0, 0, 0, 1], [one, two, 0, 0, 0]])
    np.testing.assert_allclose(standardised(values), expected, atol=1e-6)
    assert not standardised(np.array([[0.1 + 0.2], [0.3], [0.3]])).any()


def test_poi_counts_are_standardised_logs_and_their_only_token(city: FakeCity) -> None:
    encoder = PoiCounts(PoiCounts.Params(), city, "poi", 4)
    present = np.flatnonzero(city.poi_present)
    np.testing.assert_array_equal(encoder.observations(), present)
    logs = np.log1p(city.poi_counts()[0].toarray()[present])
    np.testing.assert_allclose(rows(encoder), StandardScaler().fit_transform(logs), atol=1e-5)
    assert encoder.frozen and encoder.width == 5
    batch = encoder.load(np.arange(3))
    encoded = encoder.tokens(batch)
    assert torch.equal(encoded.tokens[:, 0], encoder(batch)) and encoded.present.all() and encoded.tokens.shape[1] == 1


@pytest.mark.parametrize(("form", "formed"), [("root", np.sqrt), ("count", np.asarray)])
def test_counts_and_flows_accept_other_forms(city: FakeCity, form: str, formed) -> None:
    encoder = PoiCounts(PoiCounts.Params(form=form), city, "poi", 4)
    counts = city.poi_counts()[0].toarray()[city.poi_present].astype(float)
    np.testing.assert_allclose(rows(encoder), StandardScaler().fit_transform(formed(counts)), atol=1e-5)
    flows = city.flows().toarray()
    between = flows - np.diag(np.diag(flows))
    singular = np.linalg.svd(np.hstack([formed(between), formed(between.T)]), compute_uv=False)
    profile = flow_profile(city.flows(), 3, form)
    np.testing.assert_allclose(np.linalg.norm(profile[:, :3], axis=0), singular[:3])
    totals = [np.diag(flows), between.sum(1), between.sum(0), (between > 0).sum(1), (between > 0).sum(0)]
    np.testing.assert_allclose(profile[:, 3:], formed(np.column_stack(totals)), atol=1e-12)


def test_a_perceptron_on_the_features_trains(city: FakeCity) -> None:
    encoder = PoiCounts(PoiCounts.Params(hidden=7), city, "poi", 4)
    vectors, _ = RegionEncoder(encoder).encode(torch.arange(12))
    assert encoder.width == 7 and vectors.requires_grad and not encoder.frozen


def test_flow_profile_equals_the_singular_value_decomposition(city: FakeCity) -> None:
    flows = city.flows().toarray()
    between = flows - np.diag(np.diag(flows))
    both = np.hstack([np.log1p(between), np.log1p(between.T)])
    u, s, _ = np.linalg.svd(both, full_matrices=False)
    profile = flow_profile(city.flows(), 4)
    np.testing.assert_allclose(np.abs(profile[:, :4]), np.abs(u[:, :4] * s[:4]), atol=1e-8)
    totals = [np.diag(flows), between.sum(1), between.sum(0), (between > 0).sum(1), (between > 0).sum(0)]
    np.testing.assert_allclose(profile[:, 4:], np.log1p(np.column_stack(totals)), atol=1e-12)


def test_flow_profile_leaves_out_regions_without_flow(city: FakeCity) -> None:
    encoder = FlowProfile(FlowProfile.Params(components=3), city, "flows", 4)
    np.testing.assert_array_equal(encoder.observations(), np.delete(np.arange(12), 5))
    assert encoder.width == 8


@pytest.mark.parametrize("n", [1, 2, 3])
def test_flow_profile_accepts_very_few_regions(n: int) -> None:
    profile = flow_profile(sparse.csr_array(np.ones((n, n))), 16)
    assert profile.shape == (n, n - 1 + 5) and np.isfinite(profile).all()


def test_flow_profile_of_a_large_city_stays_sparse() -> None:
    flows = sparse.random_array((20_000, 20_000), density=1e-4, format="csr", rng=np.random.default_rng(0))
    assert flow_profile(flows, 8).shape == (20_000, 13)


def test_a_table_gives_its_columns_with_a_flag_for_missing_values(city: FakeCity) -> None:
    encoder = Table(Table.Params(), city, "census", 4)
    np.testing.assert_array_equal(encoder.observations(), np.delete(np.arange(12), 9))
    assert encoder.width == 4
    values = rows(encoder)
    assert values[2, 1] == 0 and values[2, 3] == 1 and values[:, 3].sum() == 1
    two_columns = Table(Table.Params(table="census", columns=["rooms", "income"]), city, "people", 4)
    np.testing.assert_allclose(rows(two_columns), values[:, [2, 0]])


def test_table_names_unknown_tables_and_columns(city: FakeCity) -> None:
    with pytest.raises(UserError, match=r"modalities\.censu: .*'censu'.*'census'"):
        Table(Table.Params(), city, "censu", 4)
    with pytest.raises(UserError) as caught:
        Table(Table.Params(columns=["incme", "age", "roms"]), city, "census", 4)
    assert [str(p) for p in caught.value.problems] == [
        "modalities.census.columns: no column 'incme'. Did you mean 'income'?",
        "modalities.census.columns: no column 'roms'. Did you mean 'rooms'?",
    ]


@pytest.mark.parametrize(("kind", "lost"), [(PoiCounts, "poi_counts"), (FlowProfile, "flows")])
def test_encoders_require_their_source(city: FakeCity, monkeypatch: pytest.MonkeyPatch, kind, lost: str) -> None:
    monkeypatch.setattr(city, lost, lambda: None)
    assert kind.requires(kind.Params(), city, "extra").startswith("the city has no")
    with pytest.raises(UserError, match=r"modalities\.extra: the city has no"):
        kind(kind.Params(), city, "extra", 4)


def test_image_stats_equal_a_loop_over_images(city: FakeCity) -> None:
    for source in ("rsi", "svi"):
        pixels = city.images(source).pixels[:6]
        statistics = image_stats(pixels).reshape(len(pixels), 10, -1)
        scaled = pixels / 255 if pixels.dtype == np.uint8 else pixels.astype(float)
        h, w = pixels.shape[2:]
        for i, image in enumerate(scaled):
            for band, values in enumerate(image):
                finite = values[np.isfinite(values)]
                inner = np.zeros((h, w), bool)
                inner[h // 3 : h - h // 3, w // 3 : w - w // 3] = True
                if not len(finite):
                    assert np.isnan(statistics[i, :7, band]).all() and statistics[i, 7, band] == 0
                    continue
                percentiles = np.percentile(finite, [5, 25, 50, 75, 95], method="nearest")
                middle, rim = np.nanmean(values[inner]), np.nanmean(values[~inner])
                expected = [finite.mean(), finite.std(), *percentiles, len(finite) / (h * w), middle, middle - rim]
                np.testing.assert_allclose(statistics[i, :, band], expected, atol=1e-4, rtol=1e-4)


def test_image_stats_are_computed_once(city: FakeCity) -> None:
    ImageStats(ImageStats.Params(source="svi"), city, "streets", 4)
    reads = city.images("svi").reads
    encoder = ImageStats(ImageStats.Params(), city, "svi", 4)
    assert city.images("svi").reads == reads > 0
    np.testing.assert_array_equal(encoder.observations(), city.images("svi").region)


def test_feature_encoder_can_be_subclassed(city: FakeCity) -> None:
    class Corner(FeatureEncoder):
        """Where a region lies, of regions in any order."""

        def features(self, city: FakeCity) -> tuple[np.ndarray, np.ndarray]:
            region = np.array([4, 0, 7])
            return city.lonlat[region], region

    encoder = Corner(Corner.Params(), city, "corner", 4)
    np.testing.assert_array_equal(encoder.observations(), [0, 4, 7])
    np.testing.assert_allclose(rows(encoder), standardised(city.lonlat[[0, 4, 7]]))
