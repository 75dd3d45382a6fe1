"""Titles and descriptions in a city file: what readers see, while files keep the ids."""

from pathlib import Path

import pytest

from urbankit.city.city import City
from urbankit.city.prepare.prepare import prepare
from urbankit.city.spec import city_spec, load_city_spec
from urbankit.city.texts import Text, city_title, text_of
from urbankit.evaluation.tasks import load_task
from urbankit.utils.errors import UserError

REGIONS = """{"type": "FeatureCollection", "features": [%s]}"""
CITY = """\
name: small
title: The small city
regions: {file: regions.geojson, id: id}
tables:
  census: {file: numbers.csv, region: id, columns: [rooms], title: Census}
targets:
  use:
    table: numbers.csv
    region: id
    column: use
    kind: classification
    title: Land use
    description: |
      What most of the land
      is used for.
    classes:
      1: {title: Housing, description: Homes of all kinds}
      9: {title: Never}
"""


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    squares = [
        f'{{"type": "Feature", "properties": {{"id": "r{i}"}}, "geometry": {{"type": "Polygon", "coordinates": '
        f"[[[{i / 100}, 0], [{(i + 1) / 100}, 0], [{(i + 1) / 100}, 0.01], [{i / 100}, 0.01], [{i / 100}, 0]]]}}}}"
        for i in range(12)
    ]
    (tmp_path / "regions.geojson").write_text(REGIONS % ",".join(squares))
    rows = [f"r{i},{i % 3},{1 + i % 2}" for i in range(12)]
    (tmp_path / "numbers.csv").write_text("\n".join(["id,rooms,use", *rows]) + "\n")
    (tmp_path / "city.yaml").write_text(CITY)
    return tmp_path


def test_texts_of_the_city_file_reach_the_task_and_ids_stay(sources: Path) -> None:
    city = City.open(prepare(sources / "city.yaml", out=sources / "out"))
    task = load_task(city, "use", "use", min_class_size=1)
    assert (task.label, task.description) == ("Land use", "What most of the land is used for.")
    assert task.classes == ("1", "2") and task.class_labels == ("Housing", "2")
    assert task.class_texts["1"].description == "Homes of all kinds"
    assert city_title(city) == "The small city" and city.name == "small"
    assert text_of(city, "tables.census") == Text("Census", "") and text_of(city, "poi") == Text()
    notes = [note for _, note in city.report.suspicious]
    assert any("`classes` that no region has: '9'" in note for note in notes)


def test_another_title_builds_no_layer_again(sources: Path) -> None:
    before = City.open(prepare(sources / "city.yaml", out=sources / "out"))
    (sources / "city.yaml").write_text(CITY.replace("Land use", "Use of land"))
    files = {path: path.stat().st_mtime_ns for path in (sources / "out").rglob("*.parquet")}
    after = City.open(prepare(sources / "city.yaml", out=sources / "out"))
    assert after.target("use").title == "Use of land" and after.content_hash == before.content_hash
    assert {path: path.stat().st_mtime_ns for path in files} == files


def test_wrong_texts_are_refused_with_their_line(sources: Path) -> None:
    text = CITY.replace("kind: classification", "kind: regression").replace("title: Census", f"title: {'x' * 81}")
    (sources / "city.yaml").write_text(text.replace("title: Never", "colour: red"))
    with pytest.raises(UserError) as error:
        load_city_spec(sources / "city.yaml")
    message = str(error.value)
    assert "add `kind: classification`" in message or "colour" in message
    assert "title" in message and "80" in message and "city.yaml" in message


def test_every_source_has_a_title_and_a_description_in_the_schema() -> None:
    schema = city_spec().model_json_schema()["$defs"]
    for name in ("MosaicImages", "RegionImages", "PointImages", "Captions", "PoiCounts", "PoiPoints", "FlowsByRegion",
                 "FlowsByPoint", "Table", "TableTarget", "RasterTarget", "PointTarget", "ClassText"):  # fmt: skip
        assert {"title", "description"} <= schema[name]["properties"].keys(), name
    assert "classes" in schema["TableTarget"]["properties"]
