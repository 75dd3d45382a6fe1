"""From all kinds of sources to a city and back: what is prepared is what was given."""

from pathlib import Path

import geopandas as gpd
import numpy as np
import pytest
from helpers.small_city import CRS, IDS, Sources, squares
from rich.console import Console

from urbankit.city.city import City
from urbankit.utils.errors import UserError


def test_prepared_city_equals_its_sources(full: Sources) -> None:
    city = full.prepare()
    assert (city.name, city.n_regions, city.crs, city.region_ids) == ("small", 9, CRS, IDS)
    assert city.xy[4] == pytest.approx([501_500, 4_501_500])
    assert city.area_km2 == pytest.approx(np.full(9, 1.0), rel=2e-3)
    assert city.lonlat.shape == (9, 2)
    assert city.regions.crs == CRS
    counts, categories = city.poi_counts()
    assert categories == ["shop", "park"]
    assert counts.toarray()[:, 0].tolist() == [1, 0, 2, 0, 0, 0, 0, 5, 0]
    assert city.poi_present.tolist() == [True] * 8 + [False]
    flows = city.flows().toarray()
    assert flows[0, 1] == 11 and flows[3, 4] == 4 and flows.sum() == 20
    assert city.flow_times() is None
    values, columns = city.table("census")
    assert columns == ["age"] and values[:8, 0].tolist() == list(range(8)) and np.isnan(values[8, 0])


def test_targets_come_from_rasters_and_tables(full: Sources) -> None:
    city = full.prepare()
    assert city.target_names == ["people", "price", "use"]
    grid = np.arange(900.0).reshape(30, 30)[::-1]
    by_hand = [grid[10 * (i // 3) : 10 * (i // 3) + 10, 10 * (i % 3) : 10 * (i % 3) + 10].sum() for i in range(9)]
    assert city.target("people").values == pytest.approx(by_hand, rel=1e-6)
    assert city.target("price").unit == "€"
    assert city.target("use").kind == "classification"
    assert city.target("use").values.tolist() == list("aabbaabba")
    with pytest.raises(UserError, match="Did you mean 'price'"):
        city.target("prise")


def test_images_and_captions_belong_to_their_regions(full: Sources) -> None:
    city = full.prepare()
    images = city.images("svi")
    assert images.region.tolist() == [0, 0, 1, 2, 3, 4, 5]
    pixels = images.read(np.array([2]))
    assert pixels.shape == (1, 3, 4, 6)
    assert set(np.unique(pixels)) == {0, 1, 60}
    street = city.captions("svi")
    assert street["region"].tolist() == images.region.tolist()
    assert [images.image_ids[row] for row in street["image"]] == [text.split()[1] for text in street["text"]]
    tiles = city.captions("rsi")
    assert (tiles["image"] == -1).all() and tiles["text"][3] == "tile 003"
    assert len(city.captions()) == len(street) + len(tiles)


def test_coverage_report_and_regions_file_agree_with_the_sources(full: Sources) -> None:
    city = full.prepare()
    share = city.coverage().set_index(["kind", "name"])["regions"].to_dict()
    assert share == {
        ("image", "svi"): 6, ("captions", "svi"): 6, ("captions", "rsi"): 8, ("poi", "poi"): 8, ("flows", "flows"): 5,
        ("table", "census"): 8, ("target", "people"): 9, ("target", "price"): 9, ("target", "use"): 9,
    }  # fmt: skip
    assert city.report.without_modality == ["008"]
    assert any("no modality" in note for _, note in city.report.suspicious)
    console = Console(record=True, width=120, file=open("/dev/null", "w"))  # noqa: SIM115, PTH123
    city.report.print(console)
    text = console.export_text()
    assert "small: 9 regions" in text and "images.svi" in text and "no modality" in text
    frame = gpd.read_parquet(city.path / "regions.parquet")
    assert frame.crs == CRS and frame["region_id"].tolist() == IDS


def test_city_with_regions_only_can_be_prepared(sources: Sources) -> None:
    city = sources.prepare()
    assert city.poi_counts() is None and city.flows() is None and not city.poi_present.any()
    assert city.image_sources == city.caption_sources == city.tables == city.target_names == []
    assert len(city.captions()) == 0
    assert city.report.without_modality == []


def test_city_with_one_region_can_be_prepared(sources: Sources) -> None:
    sources.regions(ids=["only"], shapes=squares()[:1])
    city = sources.prepare()
    assert city.n_regions == 1
    assert any("one region" in note for _, note in city.report.suspicious)


def test_other_folders_and_damaged_cities_are_refused(tmp_path: Path, full: Sources) -> None:
    with pytest.raises(UserError, match="not a prepared city"):
        City.open(tmp_path)
    city = full.prepare()
    (city.path / "poi.parquet").write_bytes(b"PAR1")
    with pytest.raises(UserError, match="damaged"):
        City.open(city.path).poi_counts()
    (city.path / "manifest.json").write_text("{")
    with pytest.raises(UserError, match="damaged"):
        City.open(city.path)
