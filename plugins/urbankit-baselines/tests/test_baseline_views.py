"""The views of the baselines."""

from __future__ import annotations

from types import SimpleNamespace

import geopandas as gpd
import numpy as np
import pytest
import scipy.sparse
import shapely
from urbankit_baselines.views.flow_similarity import FlowSimilarity
from urbankit_baselines.views.flows import Flows
from urbankit_baselines.views.neighbours import Neighbours

OD = np.array([[5.0, 2, 0, 0], [0, 1, 3, 0], [2, 4, 0, 0], [0, 0, 0, 0]])
XY = np.array([[0.0, 3], [1, 1], [2, 2], [3, 0]])
CITY = SimpleNamespace(
    flows=lambda: scipy.sparse.csr_array(OD), has_geometry=True, xy=XY, region_ids=["a", "b", "c", "d"]
)


@pytest.mark.parametrize("direction", ["out", "in"])
def test_flow_similarity_is_the_cosine_of_rows_or_columns(direction):
    view = FlowSimilarity(FlowSimilarity.Params(direction=direction)).build(CITY)
    rows = OD if direction == "out" else OD.T
    for i in range(3):
        for j in range(3):
            expected = rows[i] @ rows[j] / np.linalg.norm(rows[i]) / np.linalg.norm(rows[j]) if i != j else 0
            assert view.adjacency.toarray()[i, j] == pytest.approx(expected, abs=1e-6)
    assert view.present.tolist() == [True, True, True, False]


def test_flows_are_the_counts():
    view = Flows(Flows.Params()).build(CITY)
    assert (view.adjacency.toarray() == OD).all()
    assert view.present.tolist() == [True, True, True, False]


def test_flow_views_require_flows():
    none = SimpleNamespace(flows=lambda: None)
    for view in (Flows(Flows.Params()), FlowSimilarity(FlowSimilarity.Params(direction="in"))):
        assert view.requires(none) == "the city has no flows"


def test_neighbours_touch_or_are_within_the_gap():
    squares = [shapely.box(x, y, x + 10, y + 10) for x, y in [(0, 0), (10, 0), (20, 10), (33, 10)]]
    city = SimpleNamespace(regions=gpd.GeoDataFrame(geometry=squares, crs="EPSG:32618"))
    touching = Neighbours(Neighbours.Params()).build(city).adjacency.toarray()
    assert np.argwhere(touching).tolist() == [[0, 1], [1, 0], [1, 2], [2, 1]]
    assert Neighbours(Neighbours.Params(gap_m=3)).build(city).adjacency.toarray()[2, 3] == 1
