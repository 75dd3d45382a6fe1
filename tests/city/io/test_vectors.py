"""Vector files that were cut short."""

from pathlib import Path

import geopandas as gpd
import pytest
import shapely

from urbankit import UserError
from urbankit.city.io.vectors import read_vector

SQUARES = gpd.GeoDataFrame(
    {"id": [f"square-{i:06d}" for i in range(500)]},
    geometry=[shapely.box(i, 0, i + 1, 1) for i in range(500)],
    crs="EPSG:32618",
)


@pytest.mark.parametrize("fraction", [0.3, 0.6, 0.97])
@pytest.mark.parametrize("suffix", [".shp", ".shx", ".dbf", ".gpkg", ".geojson", ".fgb"])
def test_a_file_that_was_cut_short_is_refused(tmp_path: Path, suffix: str, fraction: float) -> None:
    path = tmp_path / f"squares{'.shp' if suffix in ('.shx', '.dbf') else suffix}"
    SQUARES.to_file(path)
    assert len(read_vector(path, "regions")) == len(SQUARES)
    damaged = path.with_suffix(suffix)
    content = damaged.read_bytes()
    damaged.write_bytes(content[: int(len(content) * fraction)])
    with pytest.raises(UserError, match=r"squares\.\w+: regions: .*(cut short|truncated)"):
        read_vector(path, "regions")


def test_a_shapefile_with_the_table_of_another_is_refused(tmp_path: Path) -> None:
    SQUARES.to_file(tmp_path / "squares.shp")
    SQUARES.iloc[:300].to_file(tmp_path / "fewer.shp")
    (tmp_path / "squares.dbf").write_bytes((tmp_path / "fewer.dbf").read_bytes())
    with pytest.raises(UserError, match=r"squares\.shx has 500 shapes, but squares\.dbf 300 rows"):
        read_vector(tmp_path / "squares.shp", "regions")
