"""Views of shared borders and nearest regions: conformance, and squares with known borders."""

from __future__ import annotations

from types import SimpleNamespace

import geopandas as gpd
import numpy as np
import pytest
import shapely
from pydantic import ValidationError
from urbankit_contiguity.contiguity import Contiguity
from urbankit_contiguity.nearest import Nearest

from urbankit import testing

# Squares of 10 m: two share an edge, the third touches a corner of the second, then a gap of 3 m, and one far away.
SQUARES = [shapely.box(x, y, x + 10, y + 10) for x, y in [(0, 0), (10, 0), (20, 10), (33, 10), (900, 0)]]


def squares(number: int = 5) -> SimpleNamespace:
    regions = gpd.GeoDataFrame(geometry=SQUARES[:number], crs="EPSG:32618")
    xy = np.column_stack([regions.centroid.x, regions.centroid.y])
    return SimpleNamespace(
        regions=regions, has_geometry=True, xy=xy, region_ids=list("abcde")[:number], n_regions=number
    )


def edges(view, city) -> dict[tuple[int, int], float]:
    adjacency = view.build(city).adjacency.tocoo()
    return {(int(i), int(j)): float(w) for i, j, w in zip(adjacency.row, adjacency.col, adjacency.data, strict=True)}


def contiguity(**params) -> Contiguity:
    return Contiguity(Contiguity.Params(**params))


@pytest.mark.parametrize(
    "params",
    [{}, {"border": "rook", "weight": "length"}, {"gap_m": 50}, {"islands": "nearest"}],
    ids=["queen", "rook", "gap", "islands"],
)
def test_contiguity_conforms(params):
    testing.check_view("contiguity", **params)


@pytest.mark.parametrize("params", [{}, {"pairs": "mutual"}, {"pairs": "directed", "weight": "inverse"}])
def test_nearest_conforms(params):
    testing.check_view("nearest", k=3, **params)


def test_corner_is_a_border_for_queen_only():
    queen, rook = edges(contiguity(), squares()), edges(contiguity(border="rook"), squares())
    assert set(queen) == {(0, 1), (1, 0), (1, 2), (2, 1)} and set(queen.values()) == {1}
    assert set(rook) == {(0, 1), (1, 0)}


def test_length_weight_is_in_kilometres():
    assert edges(contiguity(border="rook", weight="length"), squares()) == pytest.approx({(0, 1): 0.01, (1, 0): 0.01})


def test_neighbours_need_not_share_vertices():
    halves = [shapely.box(0, 0, 10, 10), shapely.box(10, 2, 20, 6)]
    city = SimpleNamespace(regions=gpd.GeoDataFrame(geometry=halves, crs="EPSG:32618"))
    assert edges(contiguity(border="rook", weight="length"), city) == pytest.approx({(0, 1): 0.004, (1, 0): 0.004})


def test_gap_m_bridges_gaps_up_to_its_width():
    assert (2, 3) not in edges(contiguity(gap_m=2), squares())
    assert (2, 3) in edges(contiguity(gap_m=3.1), squares())


def test_islands_are_absent_or_joined_to_the_nearest():
    absent = contiguity().build(squares())
    assert absent.present.tolist() == [True, True, True, False, False]
    joined = contiguity(islands="nearest").build(squares())
    assert joined.present.all()
    assert {(3, 2), (2, 3), (4, 3), (3, 4)} < set(edges(contiguity(islands="nearest"), squares()))
    assert joined.adjacency.data.tolist() == [1.0] * joined.adjacency.nnz


@pytest.mark.parametrize("view", [contiguity(), contiguity(islands="nearest"), Nearest(Nearest.Params())])
def test_single_region_has_no_edges(view):
    assert edges(view, squares(1)) == {}


def test_nearest_matches_a_loop_over_all_pairs():
    xy = np.random.default_rng(0).uniform(0, 5000, (30, 2))
    city = SimpleNamespace(has_geometry=True, xy=xy, region_ids=[f"r{i:02d}" for i in range(30)], n_regions=30)
    apart = np.linalg.norm(xy[:, None] - xy[None], axis=2)
    np.fill_diagonal(apart, np.inf)
    expected = {(i, int(j)) for i in range(30) for j in np.argsort(apart[i])[:4]}
    pairs = {how: set(edges(Nearest(Nearest.Params(k=4, pairs=how)), city)) for how in ("directed", "either", "mutual")}
    reverse = {(j, i) for i, j in expected}
    assert pairs == {"directed": expected, "either": expected | reverse, "mutual": expected & reverse}
    inverse = edges(Nearest(Nearest.Params(k=4, weight="inverse")), city)
    assert all(weight == pytest.approx(1000 / apart[pair], rel=1e-5) for pair, weight in inverse.items())


def test_coincident_centroids_are_neighbours_with_finite_weight():
    xy = np.array([[0.0, 0], [0, 0], [0, 0], [500, 0], [900, 0]])
    city = SimpleNamespace(has_geometry=True, xy=xy, region_ids=list("abcde"), n_regions=5)
    weights = edges(Nearest(Nearest.Params(k=2, weight="inverse", pairs="directed")), city)
    assert {(i, j) for i, j in weights if i < 3} == {(i, j) for i in range(3) for j in range(3) if i != j}
    assert max(weights.values()) == pytest.approx(100)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"weight": "length"}, "a corner and a gap have no length"),
        ({"weight": "length", "border": "rook", "gap_m": 1}, "a corner and a gap have no length"),
        ({"border": "rook", "gap_m": 1}, "needs `border: queen`"),
    ],
)
def test_contradicting_parameters_are_refused(params, message):
    with pytest.raises(ValidationError, match=message):
        Contiguity.Params(**params)


def test_new_york_has_the_known_number_of_borders(shared_data):
    """957 tracts with one island; 5,908 directed edges for queen, 4,934 for rook."""
    tracts = gpd.read_file(shared_data / "new-york" / "tracts.gpkg").to_crs(32618)
    xy = np.column_stack([tracts.centroid.x, tracts.centroid.y])
    city = SimpleNamespace(regions=tracts, has_geometry=True, xy=xy, region_ids=tracts.tract.astype(str).tolist())
    queen, rook = contiguity().build(city), contiguity(border="rook").build(city)
    assert (queen.present.sum(), rook.present.sum()) == (956, 956)
    assert (queen.adjacency.nnz, rook.adjacency.nnz) == (5908, 4934)
    assert contiguity(islands="nearest").build(city).present.all()
