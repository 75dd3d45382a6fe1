"""Positions and sizes of geometries, also where longitudes wrap."""

import geopandas as gpd
import numpy as np
import pytest
import shapely
from pyproj import CRS

from urbankit.utils.geometry import lonlat, placeable, side_m


@pytest.mark.parametrize("middle", [0.0, 179.99, 180.0, -180.0, -179.995])
def test_positions_and_sizes_do_not_depend_on_the_longitude(middle: float) -> None:
    west = middle + np.array([-0.03, -0.01, 0.01])
    boxes = gpd.GeoSeries([shapely.box(x, 50, x + 0.02, 50.01) for x in west], crs="EPSG:4326")
    at_zero = boxes.translate(-middle)
    wrapped = shapely.transform(
        boxes.to_numpy(), lambda xy: np.column_stack([(xy[:, 0] + 180 + 1e-9) % 360 - 180 - 1e-9, xy[:, 1]])
    )
    shapes = gpd.GeoSeries(wrapped, crs="EPSG:4326")
    expected, positions = lonlat(at_zero), lonlat(shapes)
    difference = (positions[:, 0] - middle - expected[:, 0] + 180) % 360 - 180
    np.testing.assert_allclose(difference, 0, atol=1e-6)
    np.testing.assert_allclose(positions[:, 1], expected[:, 1], atol=1e-9)
    assert (np.abs(positions[:, 0]) < 180 + 1e-9).all()
    assert side_m(shapes) == pytest.approx(side_m(at_zero), rel=1e-6)


def test_a_crs_with_a_negative_unit_has_no_place() -> None:
    utm = CRS("EPSG:32618")
    assert placeable(utm)
    assert not placeable(CRS(utm.to_wkt("WKT1_GDAL").replace('UNIT["metre",1', 'UNIT["metre",-1')))
