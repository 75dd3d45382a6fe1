"""The city spec: what it accepts, and every mistake in one message with its line and key."""

from pathlib import Path

import pytest

from urbankit.city.spec import MosaicImages, city_spec, load_city_spec
from urbankit.utils.errors import UserError

FULL = """
name: new-york
crs: 32618
regions: {file: tracts.gpkg, id: tract}
images:
  rsi: {mosaic: [a.tif, b.tif], extent_m: 1500, size: 32}
  svi: {points: svi.csv, size: [80, 120]}
captions:
  rsi: {file: captions.jsonl, region: tract}
  svi: {file: captions.jsonl, image: image}
poi: {counts: poi.csv, region: tract}
flows: {file: flows.csv, origin: o, destination: d, weight: w}
tables: {census: {file: census.csv, region: tract}}
targets:
  density: {raster: population.tif, statistic: density}
  land_use: {points: points.parquet, label: land_use}
  check_ins: {table: targets.csv, region: tract, column: check_ins}
"""


def write(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "city.yaml"
    file.write_text(text)
    return file


def test_spec_with_all_keys_is_read(tmp_path: Path) -> None:
    spec = load_city_spec(write(tmp_path, FULL))
    assert spec.crs == "EPSG:32618"
    assert isinstance(spec.images["rsi"], MosaicImages)
    assert spec.images["rsi"].height_width == (32, 32)
    assert spec.images["svi"].height_width == (80, 120)
    assert city_spec().model_validate(spec.to_json()) == spec


def test_all_mistakes_are_reported_at_once_with_their_lines(tmp_path: Path) -> None:
    text = """name: new york
crs: EPSG:4326
regions: {file: a.gpkg}
images:
  rsi: {mosaik: [a.tif], extent_m: 100}
  svi: {points: svi.csv, sizes: 3}
  tiles: {files: "tiles.png"}
flows: {file: f.csv, origin: o, destinaton: d}
targets:
  t: {raster: a.tif, statistic: medium}
  u: {table: a.csv, region: r, column: c, kind: [1]}
captions:
  rsi: {file: a.jsonl}
tragets: {}
"""
    with pytest.raises(UserError) as caught:
        load_city_spec(write(tmp_path, text))
    messages = {(p.line, p.key): p.message for p in caught.value.problems}
    assert "letters, digits" in messages[1, "name"]
    assert "not a projected CRS" in messages[2, "crs"]
    assert messages[3, "regions.id"].startswith("is missing. Column that identifies")
    assert "mosaic, files, points" in messages[5, "images.rsi"]
    assert "'size'" in messages[6, "images.svi.sizes"]
    assert "{region_id}" in messages[7, "images.tiles.files"]
    assert "'destination'" in messages[8, "flows.destinaton"]
    assert messages[8, "flows.destination"].startswith("is missing. Column with")
    assert "'mean', 'sum', 'density' or 'majority'" in messages[10, "targets.t.statistic"]
    assert (11, "targets.u.kind") in messages
    assert "exactly one of region and image" in messages[13, "captions.rsi"]
    assert "'targets'" in messages[14, "tragets"]


@pytest.mark.parametrize("text", ["", "[1, 2]", "hello"])
def test_spec_that_is_no_mapping_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(UserError, match="a city has keys such as"):
        load_city_spec(write(tmp_path, text))


def test_captions_by_image_require_the_image_source(tmp_path: Path) -> None:
    text = "name: a\nregions: {file: a.gpkg, id: i}\ncaptions: {svi: {file: c.csv, image: image}}"
    with pytest.raises(UserError, match="no image source 'svi'"):
        load_city_spec(write(tmp_path, text))


def test_every_key_is_described() -> None:
    schema = city_spec().model_json_schema()
    for name, part in [("CitySpec", schema), *schema["$defs"].items()]:
        for key, field in part["properties"].items():
            assert field.get("description"), f"{name}.{key}"
