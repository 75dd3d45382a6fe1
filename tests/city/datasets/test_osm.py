"""OpenStreetMap extracts, written by osmium: what regions get of them, and what is refused."""

import builtins
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.short_run import short_run
from helpers.small_city import Sources, lonlat, squares

from urbankit.city.datasets.osm import CATEGORIES
from urbankit.city.datasets.osm_file import category_of, land_class, read_categories, road_class

osmium = pytest.importorskip("osmium")

N = 12
KM2 = 1e6


class Extract:
    """An extract in true layout: nodes by metres from the south-west corner of the city, ways and relations on them."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.ways: list[Any] = []
        self.relations: list[Any] = []

    def node(self, x: float, y: float, **tags: str) -> int:
        lon, lat = lonlat(x, y)
        number = len(self.nodes) + 1
        self.nodes.append(osmium.osm.mutable.Node(id=number, location=(float(lon), float(lat)), tags=tags, version=1))
        return number

    def way(self, *points: tuple[float, float], **tags: str) -> int:
        nodes = [self.node(*point) for point in points]
        closed = points[0] == points[-1]
        number = len(self.ways) + 1
        refs = [*nodes[:-1], nodes[0]] if closed else nodes
        self.ways.append(osmium.osm.mutable.Way(id=number, nodes=refs, tags=tags, version=1))
        return number

    def box(self, left: float, bottom: float, right: float, top: float, **tags: str) -> int:
        return self.way((left, bottom), (right, bottom), (right, top), (left, top), (left, bottom), **tags)

    def write(self, path: Path, box: tuple[float, float, float, float] | None = (-100, -100, 3100, 4100)) -> None:
        header = osmium.io.Header()
        if box is not None:
            corners = [float(value) for x, y in (box[:2], box[2:]) for value in lonlat(x, y)]
            header.add_box(osmium.osm.Box(*corners))
        with osmium.SimpleWriter(str(path), header=header, overwrite=True) as writer:
            for add, items in (
                (writer.add_node, self.nodes),
                (writer.add_way, self.ways),
                (writer.add_relation, self.relations),
            ):
                for item in items:
                    add(item)


@pytest.fixture
def extract(sources: Sources) -> Extract:
    """Region 0 has two cafes, a house and a park; a road of 2 km crosses regions 0 and 1."""
    sources.regions(ids=[str(i) for i in range(N)], shapes=squares(count=N))
    made = Extract()
    made.node(500, 500, amenity="cafe", name="Кафе")
    made.node(600, 500, amenity="cafe;bar", name="カフェ")
    made.node(1500, 500, shop="supermarket")
    made.node(1600, 500, amenity="bench")
    made.way((0, 250), (2000, 250), highway="primary_link")
    made.way((2500, 0), (2500, 500), highway="proposed")
    made.box(100, 100, 150, 140, building="yes", amenity="restaurant")
    made.box(0, 600, 1000, 900, leisure="park")
    made.box(0, 600, 1000, 800, landuse="grass")
    sources.spec["osm"] = "city.osm.pbf"
    made.write(sources.folder / "city.osm.pbf")
    return made


def column(city: Any, table: str, name: str) -> np.ndarray:
    values, columns = city.table(table)
    return values[:, columns.index(name)]


def test_points_of_interest_are_counted_by_category(sources: Sources, extract: Extract) -> None:
    poi = sources.prepare().poi_counts()
    assert poi is not None
    counts, categories = poi
    assert len(categories) == 34
    assert {name: counts.toarray()[0, categories.index(name)] for name in ("cafe", "restaurant", "pub")} == {
        "cafe": 2, "restaurant": 1, "pub": 0,
    }  # fmt: skip
    assert counts.toarray()[1, categories.index("shop_livelihood")] == 1
    assert counts.sum() == 4


def test_roads_are_measured_by_class(sources: Sources, extract: Extract) -> None:
    city = sources.prepare()
    assert column(city, "osm_roads", "primary km") == pytest.approx([1, 1] + [0] * 10, abs=1e-3)
    assert column(city, "osm_roads", "all km per km²")[:2] == pytest.approx([1, 1], rel=1e-3)
    assert column(city, "osm_roads", "motorway km").sum() == 0


def test_buildings_are_counted_and_measured(sources: Sources, extract: Extract) -> None:
    city = sources.prepare()
    assert column(city, "osm_buildings", "count").tolist() == [1] + [0] * 11
    assert column(city, "osm_buildings", "area km²")[0] == pytest.approx(2000 / KM2, rel=1e-3)
    assert column(city, "osm_buildings", "mean footprint m²")[0] == pytest.approx(2000, rel=1e-3)
    assert np.isnan(column(city, "osm_buildings", "mean footprint m²")[1:]).all()


def test_overlapping_polygons_of_a_land_use_are_counted_once(sources: Sources, extract: Extract) -> None:
    assert column(sources.prepare(), "osm_land_use", "green share")[0] == pytest.approx(0.3, rel=1e-3)


def test_lengths_and_areas_are_true_in_a_distorted_crs(sources: Sources, extract: Extract) -> None:
    sources.spec["crs"] = "EPSG:3857"
    city = sources.prepare()
    assert column(city, "osm_roads", "all km")[0] == pytest.approx(1, rel=2e-3)
    assert column(city, "osm_buildings", "area km²")[0] == pytest.approx(2000 / KM2, rel=4e-3)


def test_multipolygon_relations_are_areas(sources: Sources, extract: Extract) -> None:
    outer, inner = extract.box(1000, 1000, 2000, 2000), extract.box(1200, 1200, 1700, 1700)
    members = [("w", outer, "outer"), ("w", inner, "inner")]
    tags = {"type": "multipolygon", "landuse": "forest"}
    extract.relations.append(osmium.osm.mutable.Relation(id=1, members=members, tags=tags, version=1))
    extract.write(sources.folder / "city.osm.pbf")
    assert column(sources.prepare(), "osm_land_use", "forest share")[4] == pytest.approx(0.75, rel=1e-3)


def test_use_selects_what_is_read(sources: Sources, extract: Extract) -> None:
    sources.spec["osm"] = {"file": "city.osm.pbf", "use": ["roads"]}
    city = sources.prepare()
    assert city.poi_counts() is None and city.tables == ["osm_roads"]


def test_base_map_has_water_main_roads_and_places_around_the_regions(sources: Sources, extract: Extract) -> None:
    extract.box(2000, 0, 3000, 1000, natural="water")
    extract.box(0, 0, 500, 500, natural="wetland")
    extract.way((-9000, 3000), (9000, 3000), highway="motorway")
    extract.way((1000, 3000), (1000, 9000), highway="trunk_link")
    extract.way((0, 100), (3000, 100), highway="residential")
    extract.node(700, 700, place="suburb", name="Old  </script><b>\nTown")
    extract.node(100, 100, place="suburb", name="Big", population="90000")
    extract.node(1500, 1500, place="city", name="City")
    extract.node(1500, 1600, place="suburb")
    extract.node(1500, 1700, place="hamlet", name="Hamlet")
    extract.node(90_000, 1700, place="town", name="Far")
    extract.write(sources.folder / "city.osm.pbf")
    city = sources.prepare()
    frame, credit = city.base_map() or pytest.fail("no base map")
    assert credit == "© OpenStreetMap contributors" and frame.crs == city.crs
    shapes = frame.set_index("kind")
    assert shapes.geometry["water"].area == pytest.approx(KM2, rel=1e-3)
    assert shapes.geometry["motorway"].length == pytest.approx(3000 + 2 * 400, rel=1e-3)  # a tenth of 4 km around
    assert shapes.geometry["trunk"].length == pytest.approx(1400, rel=1e-3)
    assert list(shapes.index) == ["water", "primary", "motorway", "trunk", "city", "suburb", "suburb"]
    assert frame["name"].dropna().tolist() == ["City", "Big", "Old </script><b> Town"]
    assert city.manifest["parts"]["base_map"]["files"] == ["base_map.parquet"]
    city.check()


def test_base_map_changes_no_hash_and_can_be_left_out(sources: Sources, extract: Extract) -> None:
    whole = sources.prepare()
    sources.spec["osm"] = {"file": "city.osm.pbf", "use": ["poi", "roads", "buildings", "land_use"]}
    without = sources.prepare()
    assert without.base_map() is None and not (without.path / "base_map.parquet").exists()
    assert whole.content_hash == without.content_hash


def test_regions_outside_the_extract_are_missing(sources: Sources, extract: Extract) -> None:
    extract.write(sources.folder / "city.osm.pbf", box=(-100, -100, 3100, 1990))
    city = sources.prepare()
    outside = np.arange(N) >= 6
    assert np.isnan(city.table("osm_roads")[0]).all(axis=1).tolist() == outside.tolist()
    assert city.poi_present.tolist() == (~outside).tolist()
    assert any("regions outside the extract" in note for _, note in city.report.suspicious)


def test_extract_of_another_place_is_refused(sources: Sources, extract: Extract) -> None:
    extract.write(sources.folder / "city.osm.pbf", box=(50_000, 50_000, 60_000, 60_000))
    assert "covers no region" in sources.refusal()


@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
def test_extract_cut_short_is_one_message(sources: Sources, extract: Extract, share: float) -> None:
    path = sources.folder / "city.osm.pbf"
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    message = sources.refusal()
    assert message.startswith(f"{path}: osm: cannot be read, it may be cut short") and "fetch it again" in message


def test_file_that_is_no_extract_is_one_message(sources: Sources, extract: Extract) -> None:
    (sources.folder / "city.osm.pbf").write_bytes(b"PK\x03\x04 no extract at all")
    assert "cannot be read" in sources.refusal()
    sources.spec["osm"] = "missing.osm.pbf"
    assert "file not found" in sources.refusal()


def test_extract_without_points_says_how_to_leave_them_out(sources: Sources, extract: Extract) -> None:
    other = Extract()
    other.way((0, 250), (2000, 250), highway="primary")
    other.write(sources.folder / "city.osm.pbf")
    assert "leave points of interest out by `use`" in sources.refusal()


def test_road_whose_nodes_are_missing_is_left_out_and_noted(sources: Sources, extract: Extract) -> None:
    extract.ways.append(osmium.osm.mutable.Way(id=99, nodes=[9001, 9002], tags={"highway": "primary"}, version=1))
    extract.write(sources.folder / "city.osm.pbf")
    city = sources.prepare()
    assert column(city, "osm_roads", "all km").sum() == pytest.approx(2, abs=2e-3)
    assert any("roads without a usable geometry, left out: 1" in note for _, note in city.report.suspicious)


def test_own_table_of_categories(sources: Sources, extract: Extract) -> None:
    sources.csv("mine.csv", category=["sit", "drink"], key=["amenity", "amenity"], value=["bench", "*"])
    sources.spec["osm"] = {"file": "city.osm.pbf", "use": ["poi"], "categories": "mine.csv"}
    poi = sources.prepare().poi_counts()
    assert poi is not None and poi[1] == ["drink", "sit"] and poi[0].sum(0).tolist() == [3, 1]
    sources.csv("mine.csv", category=["sit"], tag=["amenity"])
    assert "has no column key, value" in sources.refusal()


def test_message_without_osmium_names_the_command(
    sources: Sources, extract: Extract, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = builtins.__import__

    def without(name: str, *rest: Any) -> Any:
        if name.startswith("osmium"):
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    assert "pip install 'urbankit[sources]'" in sources.refusal()


def test_run_trains_on_an_extract(sources: Sources, extract: Extract, tmp_path: Path) -> None:
    sources.csv("targets.csv", id=range(N), price=np.arange(N) + 1.0)
    sources.spec["targets"] = {"price": {"table": "targets.csv", "region": "id", "column": "price"}}
    run = short_run(
        sources.prepare(),
        tmp_path / "run",
        modalities={"roads": {"name": "table", "table": "osm_roads"}, "poi_counts": {"name": "poi_counts"}},
        tasks={"price": {}},
    )
    assert np.isfinite(run.metrics["value"]).all()


@pytest.mark.parametrize(
    ("tags", "category"),
    [
        ({"amenity": "cafe"}, "cafe"),
        ({"shop": "bakery"}, "food"),
        ({"shop": "pottery"}, "retail"),
        ({"shop": "no"}, None),
        ({"amenity": "hospital", "healthcare": "hospital"}, "health"),
        ({"building": "yes"}, None),
    ],
)
def test_shipped_categories(tags: dict[str, str], category: str | None) -> None:
    assert category_of(tags.get, read_categories(CATEGORIES, "osm")) == category


def test_classes_of_roads_and_land() -> None:
    assert [road_class(value) for value in ("motorway_link", "living_street", "bus_stop")] == [
        "motorway", "residential", None,
    ]  # fmt: skip
    assert land_class({"natural": "wood"}.get) == "forest" and land_class({"natural": "tree"}.get) is None
