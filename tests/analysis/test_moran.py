import geopandas as gpd
import numpy as np
import pytest
from shapely.geometry import Point, box

from urbankit.analysis.moran import contiguity, moran


def grid(side: int) -> gpd.GeoSeries:
    return gpd.GeoSeries([box(x, y, x + 1, y + 1) for y in range(side) for x in range(side)])


def test_regions_that_share_a_border_or_a_corner_are_neighbours() -> None:
    weights = contiguity(np.array([*grid(3), box(50, 50, 51, 51)]))
    np.testing.assert_allclose(weights.sum(axis=1), [*np.ones(9), 0])
    assert list(np.diff(weights.tocsr().indptr)) == [3, 5, 3, 5, 8, 5, 3, 5, 3, 0]


def test_points_get_their_nearest_points_as_neighbours() -> None:
    weights = contiguity(np.array([Point(x, 0) for x in range(20)]))
    assert set(np.diff(weights.tocsr().indptr)) == {8}


def test_morans_i_equals_a_plain_loop_and_esda_if_installed() -> None:
    shapes = grid(6)
    values = np.random.default_rng(0).normal(size=36) + np.arange(36) / 10
    weights = contiguity(np.array(shapes))
    z, dense = values - values.mean(), weights.toarray()
    products = sum(dense[i, j] * z[i] * z[j] for i in range(36) for j in range(36))
    result = moran(values, weights)
    assert result.i == pytest.approx(36 / dense.sum() * products / (z**2).sum())
    assert result.p < 0.01 and result.n == 36 and result == moran(values, weights)
    esda, libpysal = pytest.importorskip("esda"), pytest.importorskip("libpysal")
    queen = libpysal.weights.Queen.from_dataframe(gpd.GeoDataFrame(geometry=shapes), use_index=False)
    queen.transform = "r"
    theirs = esda.Moran(values, queen)
    assert result.i == pytest.approx(theirs.I) and result.p == pytest.approx(theirs.p_sim, abs=0.01)


def test_morans_i_is_near_zero_for_noise_and_negative_for_alternating_rows() -> None:
    weights = contiguity(np.array(grid(10)))
    noise = moran(np.random.default_rng(1).normal(size=100), weights)
    assert abs(noise.i) < 0.15 and noise.p > 0.05
    rows = np.arange(100) // 10 % 2
    assert moran(rows.astype(float), weights).i < 0


def test_morans_i_is_undefined_for_constant_or_few_values_or_without_neighbours() -> None:
    weights = contiguity(np.array(grid(4)))
    apart = contiguity(np.array([box(10 * x, 0, 10 * x + 1, 1) for x in range(16)]))
    few = contiguity(np.array(grid(2)))
    for values, neighbour_weights in ((np.full(16, 0.1), weights), (np.arange(16.0), apart), (np.arange(4.0), few)):
        assert np.isnan(moran(values, neighbour_weights).i) and np.isnan(moran(values, neighbour_weights).p)
