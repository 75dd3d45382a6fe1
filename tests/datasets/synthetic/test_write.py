"""The synthetic city as files: whole, deterministic, of any size."""

from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import rasterio
import yaml
from PIL import Image

from urbankit.datasets.synthetic import write_demo
from urbankit.datasets.synthetic.lattice import CRS
from urbankit.datasets.synthetic.model import CLASSES, draw_model
from urbankit.utils.errors import UserError


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_the_same_seed_gives_the_same_bytes_and_another_seed_another_city(small_sources, tmp_path):
    again = write_demo(tmp_path / "again", regions=36, seed=3).parent
    first, second = contents(small_sources), contents(again)
    assert first.keys() == second.keys()
    assert [name for name in first if first[name] != second[name]] == []
    other = contents(write_demo(tmp_path / "other", regions=36, seed=4).parent)
    same = [name for name, data in contents(small_sources).items() if other.get(name) == data]
    assert same == []


def test_every_documented_file_is_written(small_sources):
    spec = yaml.safe_load((small_sources / "city.yaml").read_text(encoding="utf-8"))

    def files(value):
        if isinstance(value, dict):
            for key, inner in value.items():
                if key in ("file", "points", "raster") and isinstance(inner, str):
                    yield inner
                elif key == "mosaic":
                    yield from inner
                else:
                    yield from files(inner)

    named = list(files(spec))
    assert len(named) >= 10
    assert [name for name in named if not (small_sources / name).is_file()] == []
    images = pd.read_csv(small_sources / "street_views.csv")["image"]
    assert [name for name in images if not (small_sources / name).is_file()] == []


def test_sources_have_the_documented_shapes_and_regions_do_not_overlap(small_sources):
    regions = gpd.read_file(small_sources / "regions.gpkg")
    assert list(regions["region_id"][:2]) == ["r0001", "r0002"] and len(regions) == 36
    assert regions.crs == CRS and regions.is_valid.all()
    assert regions.area.min() > 0.5e6 and regions.area.max() < 1.5e6
    with rasterio.open(small_sources / "satellite.tif") as mosaic:
        assert mosaic.count == 3 and mosaic.dtypes[0] == "uint8" and mosaic.res == (15, 15)
        west, south, east, north = regions.total_bounds
        assert mosaic.bounds.left <= west and mosaic.bounds.top >= north
        assert mosaic.bounds.right >= east and mosaic.bounds.bottom <= south
    first = pd.read_csv(small_sources / "street_views.csv")["image"][0]
    with Image.open(small_sources / first) as picture:
        assert picture.size == (96, 64) and picture.mode == "RGB"
    assert regions.union_all().area == pytest.approx(regions.area.sum(), rel=1e-9)


@pytest.mark.parametrize("regions", [4, 100, 1000])
def test_cities_of_any_size_can_be_drawn(regions):
    model = draw_model(regions, seed=1)
    assert len(model.lattice.city) == len(np.unique(model.lattice.city)) == regions
    inside = model.lattice.city
    row, column = np.divmod(inside, model.lattice.width)
    assert row.min() > 0 and column.min() > 0
    assert row.max() < model.lattice.height - 1 and column.max() < model.lattice.width - 1
    np.testing.assert_allclose(model.mixture.sum(axis=1), 1)
    assert np.isfinite(model.residents).all() and np.isfinite(model.travel.data).all()
    if regions >= 100:
        shares = np.bincount(model.land_use[inside], minlength=len(CLASSES)) / regions
        assert shares.min() > 0.03


def test_census_sums_to_the_population(small_sources):
    """population.tif holds the residents of the model, whatever region its cells lie in."""
    model = draw_model(36, seed=3)
    with rasterio.open(small_sources / "population.tif") as raster:
        people = np.nansum(raster.read(1, out_dtype="float64"))
    assert people == pytest.approx((model.residents * model.lattice.area_km2).sum(), rel=1e-4)


def test_write_demo_refuses_used_folders_and_wrong_arguments(tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "note.txt").write_text("mine")
    with pytest.raises(UserError, match="not an empty folder"):
        write_demo(tmp_path / "full", regions=36)
    with pytest.raises(UserError, match="too small"):
        write_demo(tmp_path / "few", regions=3)
    with pytest.raises(UserError, match="negative"):
        write_demo(tmp_path / "seed", regions=36, seed=-1)
    assert (tmp_path / "full" / "note.txt").read_text() == "mine"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["full"]


def test_failed_write_leaves_no_file(tmp_path, monkeypatch):
    def fail(*_):
        raise OSError("no space left on device")

    monkeypatch.setattr("urbankit.datasets.synthetic.write.write_rasters", fail)
    with pytest.raises(OSError, match="no space"):
        write_demo(tmp_path / "city", regions=4)
    assert list(tmp_path.iterdir()) == []
