"""FlatGeobuf, QGIS styles, and runs whose regions have no geometry, read back from the files."""

from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from xml.etree import ElementTree

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
from helpers.small_run import ODD, squares

from urbankit import Run, UserError, registry
from urbankit.city.city import City
from urbankit.export.qgis_style import RANGES, QGISStyle
from urbankit.export.tables import ExportTable, prediction_export
from urbankit.pipeline.prediction_options import write_predictions


def renderer(path: Path) -> ElementTree.Element:
    element = ElementTree.fromstring(path.read_text(encoding="utf-8").split("\n", 1)[1]).find("renderer-v2")
    assert element is not None
    return element


def without_geometry(ids: list[str]) -> gpd.GeoDataFrame:
    return gpd.GeoDataFrame({"region_id": ids}, geometry=[None] * len(ids))


@pytest.mark.parametrize(("to", "suffix"), [("flatgeobuf", ".fgb"), ("gpkg", ".gpkg")])
def test_layer_has_every_region_and_a_style_beside_its_predictions(make_run, to: str, suffix: str) -> None:
    run = make_run()
    paths = [path.name for path, _ in run.export(to)]
    assert paths == [f"embeddings{suffix}", f"predictions{suffix}", "predictions.qml"]
    layer = gpd.read_file(run.path / "export" / f"predictions{suffix}").set_index("region_id")
    assert sorted(layer.index) == sorted(ODD) and layer.crs == "EPSG:32618"
    expected = run.embeddings.set_index("region_id").geometry
    assert layer.geometry.geom_equals_exact(expected.reindex(layer.index), 1e-6).all()
    style = renderer(run.path / "export" / "predictions.qml")
    assert style.get("attr") in layer.columns and style.get("type") == "graduatedSymbol"
    values = layer[str(style.get("attr"))].dropna()
    ranges = [(float(one.get("lower", "")), float(one.get("upper", ""))) for one in style.iter("range")]
    assert ranges[0][0] == values.min() and ranges[-1][1] == values.max() and len(ranges) == RANGES
    assert all(one[1] == other[0] for one, other in pairwise(ranges))
    counts = [((values >= low) & (values <= high)).sum() for low, high in ranges]
    assert max(counts) - min(counts) <= 2
    assert [one.get("name") for one in style.iter("symbol")] == [str(i) for i in range(RANGES)]


def test_both_layers_and_a_requested_style_share_one_file(make_run) -> None:
    run = make_run()
    paths = [path.name for path, _ in run.export(["gpkg", "flatgeobuf", "qml"], what="predictions")]
    assert sorted(paths) == ["predictions.fgb", "predictions.gpkg", "predictions.qml"]
    run.export(["gpkg", "flatgeobuf"])  # files of an earlier export may be replaced


def test_classes_are_categories_in_the_order_of_their_codes(make_run) -> None:
    run = make_run(tasks=("use",))
    run.export("gpkg", what="predictions")
    style = renderer(run.path / "export" / "predictions.qml")
    layer = gpd.read_file(run.path / "export" / "predictions.gpkg")
    assert style.get("type") == "categorizedSymbol" and style.get("attr") == "use_random_prediction"
    categories = [one.get("value") for one in style.iter("category")]
    assert categories == ["park", "shop", "x|y", ""]
    assert set(layer["use_random_prediction"].dropna()) == set(categories[:-1])
    assert len({one.get("value") for one in style.iter("Option") if one.get("name") == "color"}) == 4


def test_categories_are_labelled_by_the_titles_of_the_city_file(make_run, monkeypatch: pytest.MonkeyPatch) -> None:
    run = make_run(tasks=("use",))
    texts = {"park": {"title": "Parks & gardens"}, "shop": {"description": "no title"}}
    city = SimpleNamespace(name="small", manifest={"spec": {"targets": {"use": {"classes": texts}}}})
    city.members = {"small": city}
    monkeypatch.setattr(City, "open", lambda folder: city)
    monkeypatch.setattr(Run, "recipe", SimpleNamespace(tasks={"use": SimpleNamespace(target=None)}))
    run.export("gpkg", what="predictions")
    categories = renderer(run.path / "export" / "predictions.qml").iter("category")
    labels = {one.get("value"): one.get("label") for one in categories}
    assert labels == {"park": "Parks & gardens", "shop": "shop", "x|y": "x|y", "": "no value"}


def test_classes_of_all_predictions_have_titles_too() -> None:
    frame = without_geometry(["a", "b"]).assign(use=["park", None], use_from="out of fold", use_truth=["park", "park"])
    table = prediction_export(frame, {"use": ("park", "shop")}, {}, {"use": {"park": "Parks"}})
    assert table.titles == {"use": {"park": "Parks"}, "use_truth": {"park": "Parks"}}


def test_columns_of_all_predictions_that_differ_by_case_are_numbered() -> None:
    shares = {"use_share_Park": [0.2, 0.4], "use_share_park": [0.8, 0.6]}
    frame = without_geometry(["a", "b"]).assign(use=["park", "Park"], use_from="out of fold", **shares)
    table = prediction_export(frame, {"use": ("Park", "park")}, {}, {"use": {"park": "Parks"}})
    assert table.columns == ["use", "use_from", "use_share_Park", "use_share_park_2"]
    assert table.frame["use_share_park_2"].tolist() == [0.8, 0.6]
    assert table.shown == "use" and table.numbers()[:, 0].tolist() == [1, 0]


@pytest.mark.parametrize("values", [[np.nan, np.nan], [3.0, 3.0], [1.0, np.nan], ['<a "b">\x07&', None]])
def test_style_of_few_values_and_of_markup_is_valid(values: list[object], tmp_path: Path) -> None:
    frame = without_geometry(["a", "b"])
    frame.insert(1, 'n <"&\n', values)
    QGISStyle(QGISStyle.Params()).write(ExportTable("predictions", frame), [tmp_path / "a.qml"])
    style = renderer(tmp_path / "a.qml")
    assert style.get("attr") == 'n <"&\n'
    used = {one.get("symbol") for tag in ("range", "category") for one in style.iter(tag)}
    assert used == {one.get("name") for one in style.iter("symbol")}
    if isinstance(values[0], str):
        assert [one.get("value") for one in style.iter("category")] == ['<a "b">&', ""]


def test_style_of_points_has_markers(make_run) -> None:
    regions = squares()
    run = make_run(regions.set_geometry(regions.centroid))
    run.export("gpkg", what="predictions")
    style = renderer(run.path / "export" / "predictions.qml")
    assert {one.get("type") for one in style.iter("symbol")} == {"marker"}


@pytest.fixture
def plain(make_run) -> Run:
    """A run whose regions have no geometry."""
    return make_run(without_geometry(ODD))


def test_every_exporter_writes_a_run_without_geometry_or_names_those_that_do(plain: Run) -> None:
    tables = [name for name in registry.names("exporter") if name != "model"]  # a model needs a trained run
    written = {}
    for name in tables:
        if registry.get("exporter", name).needs_geometry:
            with pytest.raises(UserError) as error:
                plain.export(name)
            message = str(error.value)
            assert f"have no geometry, which {name} needs" in message and "csv" in message and "npy" in message
            assert not (plain.path / "export").exists() or name not in written
        else:
            written[name] = [path for path, _ in plain.export(name, force=True)]
            assert all(path.stat().st_size for path in written[name])
    assert {"csv", "csv_spreadsheet", "geoparquet", "npy", "qml"} <= written.keys()


def test_tables_without_geometry_hold_the_values(plain: Run) -> None:
    plain.export(["csv", "geoparquet", "npy"])
    folder = plain.path / "export"
    table = pd.read_csv(folder / "predictions.csv", dtype={"region_id": str}, keep_default_na=True)
    assert "lon" not in table and "geometry" not in table and table["region_id"].tolist() == ODD
    parquet = pd.read_parquet(folder / "embeddings.parquet")
    assert list(parquet.columns) == ["region_id", "e0", "e1", "e2", "e3", "e4"]
    np.testing.assert_array_equal(parquet.iloc[:, 1:].to_numpy(np.float32), plain.vectors)
    np.testing.assert_array_equal(np.load(folder / "embeddings.npy"), plain.vectors)


def test_predictions_of_a_city_without_geometry_are_not_written_as_a_layer(tmp_path: Path) -> None:
    frame = without_geometry(["a"])
    frame.insert(1, "density", [1.0])
    table = ExportTable("predictions_all", frame)
    with pytest.raises(UserError, match="have no geometry, which gpkg needs"):
        write_predictions(table, tmp_path / "a.gpkg")
    write_predictions(table, tmp_path / "a.csv")
    assert (tmp_path / "a.csv").read_text() == "region_id,density\na,1.0\n"
