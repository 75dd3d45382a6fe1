"""Each format read again by a reader that is not urbankit's, and compared with the run."""

import json
import warnings
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import rasterio
from helpers.small_run import ODD, squares
from pyproj import CRS
from rasterio.features import rasterize
from shapely.geometry import box

from urbankit import Run
from urbankit.export import geotiff
from urbankit.export.tables import ExportTable


def expected_density(run: Run, split: str = "random") -> pd.DataFrame:
    """Median, sample deviation and count over the seeds in which a region was tested, the plain way."""
    all_rows = run.predictions
    rows = {}
    for region in ODD:
        selected = all_rows[
            (all_rows.task == "density")
            & (all_rows.split == split)
            & (all_rows.region_id == region)
            & (all_rows.fold == "test")
        ]
        values = selected["prediction"].tolist()
        rows[region] = (
            selected["truth"].iloc[0] if values else np.nan,
            np.median(values) if values else np.nan,
            np.std(values, ddof=1) if len(values) > 1 else np.nan,
            float(len(values)) or np.nan,
        )
    return pd.DataFrame.from_dict(rows, orient="index", columns=["truth", "prediction", "std", "seeds"])


def check_predictions(table: pd.DataFrame, run: Run) -> None:
    table = table.set_index("region_id")
    assert table.index.tolist() == ODD
    for split in ("random", "spatial"):
        expected = expected_density(run, split)
        got = table[["density_truth", *(f"density_{split}_{c}" for c in ("prediction", "std", "seeds"))]]
        np.testing.assert_allclose(got.to_numpy(float), expected.to_numpy(), rtol=1e-12)
    # Region "a,b" is 2: classes 2 (seed 0) and 0 (seed 2), one vote each, and the first code is kept.
    assert table.loc["a,b", "use_truth"] == "x|y"
    assert table.loc["a,b", "use_random_prediction"] in ("x|y", "park")
    assert table.loc["a,b", "use_random_agreement"] == 0.5
    # Region "008" is 1, tested by seed 1 alone.
    assert table.loc["008", "use_random_prediction"] == "shop"
    assert table.loc["008", "use_random_agreement"] == 1.0
    assert table.loc["12"].drop("geometry", errors="ignore").filter(like="_").isna().all(), "seen in training only"


def check_embeddings(table: pd.DataFrame, run: Run) -> None:
    assert table["region_id"].tolist() == ODD
    columns = [f"e{i}" for i in range(5)]
    np.testing.assert_array_equal(table[columns].to_numpy(np.float32), run.vectors)


@pytest.mark.parametrize(("to", "suffix"), [("gpkg", "gpkg"), ("geoparquet", "parquet")])
def test_vector_files_hold_geometry_and_columns(make_run, to: str, suffix: str) -> None:
    run = make_run()
    written = run.export(to)
    style = ["predictions.qml"] if to == "gpkg" else []
    assert [one.path.name for one in written] == [f"embeddings.{suffix}", f"predictions.{suffix}", *style]
    read = gpd.read_file if to == "gpkg" else gpd.read_parquet
    for path, check in zip((one.path for one in written[:2]), (check_embeddings, check_predictions), strict=True):
        table = read(path)
        check(table, run)
        assert table.crs == "EPSG:32618"
        assert table.geometry.geom_equals(squares().geometry).all()


def test_vector_file_is_written_in_the_requested_crs(make_run) -> None:
    [(path, _)] = make_run().export("gpkg", what="embeddings", crs="EPSG:4326")
    table = gpd.read_file(path)
    assert table.crs == "EPSG:4326"
    assert table.to_crs("EPSG:32618").geometry.geom_equals_exact(squares().geometry, 1e-3).all()


def test_csv_keeps_ids_unchanged(make_run) -> None:
    run = make_run()
    embeddings, predictions = (pd.read_csv(path, dtype={"region_id": str}) for path, _ in run.export("csv"))
    check_embeddings(embeddings, run)
    check_predictions(predictions, run)
    centre = squares().centroid.to_crs("EPSG:4326")
    np.testing.assert_allclose(embeddings["lon"], centre.x, atol=1e-6)
    np.testing.assert_allclose(embeddings["lat"], centre.y, atol=1e-6)


def test_numpy_files_are_read_without_pickle(make_run) -> None:
    run = make_run()
    run.export("npy")
    folder = run.path / "export"
    vectors = np.load(folder / "embeddings.npy", allow_pickle=False)
    described = json.loads((folder / "embeddings.json").read_text())
    assert vectors.dtype == np.float32
    np.testing.assert_array_equal(vectors, run.vectors)
    assert described["region_ids"] == ODD and described["columns"] == ["e0", "e1", "e2", "e3", "e4"]
    assert described["recipe"] == "small"
    numbers = np.load(folder / "predictions.npy", allow_pickle=False)
    described = json.loads((folder / "predictions.json").read_text())
    table = pd.DataFrame(numbers, columns=described["columns"])
    for column, names in described["classes"].items():
        table[column] = table[column].map(lambda code, names=names: names.get(f"{code:.0f}"))
    check_predictions(table.assign(region_id=described["region_ids"]), run)


def test_geotiff_has_the_region_of_each_cell_centre(make_run) -> None:
    run = make_run()
    (path, notes), (other, _) = run.export("geotiff")
    assert "resolution 200 m" in " ".join(notes), "a fifth of 1,000 m, the round number below a quarter"
    with rasterio.open(path) as raster, rasterio.open(other) as predictions:
        assert raster.crs == "EPSG:32618" and raster.count == 5 and set(raster.dtypes) == {"float32"}
        assert np.isnan(raster.nodata) and raster.res == (200.0, 200.0)
        assert raster.descriptions == ("e0", "e1", "e2", "e3", "e4")
        assert raster.tags()["recipe"] == "small" and raster.tags()["run"] == "run"
        assert raster.profile["tiled"] and raster.profile["compress"] == "deflate"
        assert predictions.transform == raster.transform and predictions.shape == raster.shape
        centres = squares().centroid
        sampled = np.array(list(raster.sample(zip(centres.x, centres.y, strict=True))))
        np.testing.assert_array_equal(sampled, run.vectors)
        assert np.array_equal(np.isfinite(raster.read(1)), np.ones((15, 20), bool))
        band = predictions.descriptions.index("use_truth") + 1
        assert json.loads(predictions.tags(band)["classes"]) == {"0": "park", "1": "shop", "2": "x|y"}
        use = np.array(list(predictions.sample(zip(centres.x, centres.y, strict=True), indexes=band)))[:, 0]
        np.testing.assert_array_equal(use, [*(np.arange(11) % 3), np.nan])


@pytest.mark.parametrize(("crs", "resolution"), [("EPSG:4326", 50.0), ("EPSG:2263", 100.0), ("EPSG:3857", 100.0)])
def test_geotiff_cells_have_the_requested_size_in_any_unit(make_run, crs: str, resolution: float) -> None:
    """Degrees, feet, and Mercator: cells have the requested size on the ground and the values of their regions."""
    run = make_run()
    [(path, _)] = run.export("geotiff", what="embeddings", crs=crs, resolution=resolution)
    with rasterio.open(path) as raster:
        assert raster.crs == crs
        centres = squares().centroid.to_crs(crs)
        sampled = np.array(list(raster.sample(zip(centres.x, centres.y, strict=True))))
        np.testing.assert_array_equal(sampled, run.vectors)
        corner = gpd.GeoSeries.from_xy(
            [raster.bounds.left] * 2 + [raster.bounds.left + raster.res[0]],
            [raster.bounds.bottom, raster.bounds.bottom + raster.res[1], raster.bounds.bottom],
            crs=crs,
        )
        plane = corner.to_crs("EPSG:32618")
        assert plane[0].distance(plane[1]) == pytest.approx(resolution, rel=0.01)
        assert plane[0].distance(plane[2]) == pytest.approx(resolution, rel=0.01)


def test_regions_across_180_degrees_make_a_small_raster(tmp_path: Path) -> None:
    """In zone 60, whose eastern edge is 180 degrees; in degrees the polygons are cut there."""
    shapes = gpd.GeoSeries([box(179.9 + i / 10, -17, 180 + i / 10, -16.9) for i in range(3)], crs=4326)
    frame = gpd.GeoDataFrame(
        {"region_id": ["a", "b", "c"], "e0": [1.0, 2.0, 3.0]}, geometry=shapes.to_crs("EPSG:32760")
    )
    table = ExportTable("embeddings", frame, facts={}).to_crs(CRS.from_epsg(4326))
    left, _, right, _ = table.frame.total_bounds
    assert left >= -180 and right <= 180 and table.frame.area.sum() == pytest.approx(0.03, rel=1e-3)
    geotiff.GeoTIFF(1000.0).write(table, [tmp_path / "x.tif"])
    with rasterio.open(tmp_path / "x.tif") as raster:
        assert raster.bounds.left == pytest.approx(179.9, abs=0.02) and raster.bounds.right == pytest.approx(
            180.2, abs=0.02
        )
        sampled = [values[0] for values in raster.sample([(179.95, -16.95), (180.05, -16.95), (180.15, -16.95)])]
    assert sampled == [1.0, 2.0, 3.0]


def test_default_resolution_is_in_metres_for_every_crs(make_run) -> None:
    run = make_run()
    [(path, notes)] = run.export("geotiff", what="embeddings", crs="EPSG:2263")
    assert "resolution 200 m, since a median region is 1,000 m wide" in " ".join(notes)
    with rasterio.open(path) as raster:
        assert raster.res[0] == pytest.approx(200 / 0.3048, rel=1e-4)


def test_raster_does_not_depend_on_the_number_of_tile_rows(make_run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Strips are put together without a seam: the grid is what rasterising it at once gives."""
    regions = squares()
    regions["geometry"] = regions.geometry.rotate(17, origin=(583_000, 4_507_000)).simplify(1)
    regions.loc[4, "geometry"] = None
    run = make_run(regions)
    [(path, _)] = run.export("geotiff", what="embeddings", resolution=5)
    with rasterio.open(path) as raster:
        assert raster.height > 2 * geotiff.TILE and raster.block_shapes[0] == (geotiff.TILE, geotiff.TILE)
        has_geometry = regions.geometry.notna().to_numpy()
        pairs = zip(regions.geometry[has_geometry], np.flatnonzero(has_geometry), strict=True)
        region_rows = rasterize(pairs, raster.shape, fill=-1, transform=raster.transform, dtype="int32")
        for band in (1, 5):
            expected = np.where(region_rows < 0, np.nan, run.vectors[region_rows, band - 1])
            np.testing.assert_array_equal(raster.read(band), expected.astype(np.float32))


def test_regions_without_a_cell_are_named(make_run) -> None:
    regions = squares()
    regions.loc[3, "geometry"] = regions.geometry[3].buffer(-499)
    _, notes = make_run(regions).export("geotiff", what="embeddings", resolution=400)[0]
    assert any('q"q' in note and "lacks" in note for note in notes)


def test_points_and_empty_geometries_are_exported(make_run) -> None:
    regions = squares()
    regions["geometry"] = regions.centroid
    run = make_run(regions)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        run.export(["gpkg", "geoparquet", "csv", "npy", "geotiff"])
    with rasterio.open(run.path / "export" / "embeddings.tif") as raster:
        assert raster.res == (200.0, 200.0), "points are 1,000 m from the nearest one"
        sampled = np.array(list(raster.sample(zip(regions.geometry.x, regions.geometry.y, strict=True))))
        np.testing.assert_array_equal(sampled, run.vectors)
    assert set(gpd.read_file(run.path / "export" / "embeddings.gpkg").geom_type) == {"Point"}


def test_regions_in_degrees_are_exported_without_warnings(make_run) -> None:
    run = make_run(squares().to_crs("EPSG:4326"))
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        written = run.export(["csv", "geotiff"], what="embeddings")
    with rasterio.open(written[1].path) as raster:
        assert raster.crs == "EPSG:4326" and raster.count == 5
    centre = squares().centroid.to_crs("EPSG:4326")
    np.testing.assert_allclose(pd.read_csv(written[0].path)["lon"], centre.x, atol=1e-5)
