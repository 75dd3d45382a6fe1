"""The .npy files of published methods: every layout, and every way in which a file may be wrong."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.short_run import short_run
from helpers.small_city import Sources, squares
from sklearn.linear_model import Ridge
from sklearn.metrics import r2_score
from sklearn.model_selection import KFold

from urbankit import UserError
from urbankit.city.datasets.base import DataFolder, Regions
from urbankit.city.datasets.benchmark import Benchmark
from urbankit.evaluation.folds import evaluate_folds
from urbankit.evaluation.tasks import TaskData
from urbankit.recipe.schema import Folds

N = 12
RNG = np.random.default_rng(0)
FLOWS = RNG.poisson(3, (N, N)).astype(float)
POI = RNG.poisson(5, (N, 26)).astype(np.int32)
LAND_USE = RNG.poisson(5, (N, 11)).astype(np.int32)
CRIME, CHECK_INS = RNG.poisson(50, N).astype(float), RNG.poisson(90, N)
SIMILARITY = np.corrcoef(POI)

FILES: dict[str, dict[str, Any]] = {
    "hrep": {
        "mobility_adj.npy": FLOWS[None],
        "poi_similarity.npy": SIMILARITY,
        "source_adj.npy": SIMILARITY,
        "crime_counts.npy": CRIME[:, None],
        "check_counts.npy": CHECK_INS,
    },
    "hafusion": {
        "mob-adj.npy": FLOWS.astype(np.int32),
        "mob_dist.npy": FLOWS * 2,
        "poi_dist.npy": POI,
        "landUse_dist.npy": LAND_USE,
        "crime_counts.npy": CRIME,
        "check_counts.npy": CHECK_INS,
        "serviceCall_counts.npy": CRIME * 3,
    },
    "mvure": {"mob-adj.npy": FLOWS[None], "poi_simi.npy": SIMILARITY, "crime_counts.npy": CRIME[:, None]},
    "mgfn": {"mob_label.npy": FLOWS, "crime_counts_label.npy": CRIME[:, None], "check_in_label.npy": CHECK_INS},
}
CLASSES = {str(i): i % 3 for i in range(N)}
WITH_CLASSES = ("hrep", "mvure", "mgfn")


def benchmark(sources: Sources, layout: str) -> Path:
    """The folder of a set in its authors' layout, named by the city file."""
    sources.regions(ids=[f"tract {i}" for i in range(N)], shapes=squares(count=N))
    folder = sources.folder / "set"
    folder.mkdir()
    for name, array in FILES[layout].items():
        np.save(folder / name, array)
    if layout in WITH_CLASSES:
        (folder / "mh_cd.json").write_text(json.dumps(CLASSES))
    sources.spec["benchmark"] = {"layout": layout, "folder": "set"}
    return folder


def messages(sources: Sources) -> list[str]:
    with pytest.raises(UserError) as caught:
        sources.prepare()
    assert not sources.out.exists()
    return [str(problem) for problem in caught.value.problems]


@pytest.mark.parametrize("layout", FILES)
def test_every_layout_becomes_a_city(sources: Sources, layout: str) -> None:
    benchmark(sources, layout)
    city = sources.prepare()
    flows = city.flows()
    assert flows is not None
    assert np.array_equal(flows.toarray(), FLOWS)
    assert np.array_equal(city.target("crime").values, CRIME)
    assert ("check_ins" in city.target_names) == (layout != "mvure")
    if layout in WITH_CLASSES:
        assert city.target("land_use").values.tolist() == [str(CLASSES[str(i)]) for i in range(N)]
    if layout == "hafusion":
        poi = city.poi_counts()
        assert poi is not None
        assert np.array_equal(poi[0].toarray(), POI)
        assert np.array_equal(city.table("land_use")[0], LAND_USE)
        assert np.array_equal(city.table("mobility")[0], FLOWS * 2)
        assert city.target("service_calls").unit == "calls"
    elif layout != "mgfn":
        assert np.array_equal(city.table("poi_similarity")[0], SIMILARITY)


def test_texts_of_a_target_may_stand_in_the_city_file(sources: Sources) -> None:
    benchmark(sources, "hrep")
    sources.prepare()
    texts = {"title": "Reported crimes", "unit": "a year", "description": "All offences."}
    classes = {"0": {"title": "District A"}}
    sources.spec["targets"] = {"crime": texts, "land_use": {"title": "Districts", "classes": classes}}
    city = sources.prepare()
    crime, districts = city.target("crime"), city.target("land_use")
    assert (crime.title, crime.unit, crime.description) == ("Reported crimes", "a year", "All offences.")
    assert np.array_equal(crime.values, CRIME)
    assert districts.title == "Districts" and districts.classes["0"].title == "District A"


def test_texts_of_a_target_that_nothing_gives_are_refused(sources: Sources) -> None:
    benchmark(sources, "hrep")
    sources.spec["targets"] = {"crimes": {"title": "Crimes"}}
    (message,) = messages(sources)
    assert "targets.crimes: has no source, and no dataset gives it; add one of the keys table, raster" in message
    assert "Did you mean 'crime'" in message


def test_rows_follow_ids_that_number_the_regions(sources: Sources) -> None:
    benchmark(sources, "hafusion")
    order = RNG.permutation(N)
    sources.regions(ids=[str(i) for i in order], shapes=squares(count=N))
    city = sources.prepare()
    flows, poi = city.flows(), city.poi_counts()
    assert flows is not None and poi is not None
    assert np.array_equal(flows.toarray(), FLOWS[np.ix_(order, order)])
    assert np.array_equal(poi[0].toarray(), POI[order])
    assert np.array_equal(city.target("crime").values, CRIME[order])
    assert np.array_equal(city.table("land_use")[0], LAND_USE[order])


def test_ridge_over_folds_equals_ridge_by_hand_on_the_files(sources: Sources) -> None:
    folder = benchmark(sources, "hafusion")
    city = sources.prepare()
    poi = city.poi_counts()
    assert poi is not None
    task = TaskData("crime", "regression", city.target("crime").values, np.ones(N, bool))
    x, y = np.load(folder / "poi_dist.npy").astype(float), np.load(folder / "crime_counts.npy")
    by_hand = np.zeros(N)
    for train, test in KFold(3).split(x):
        by_hand[test] = np.maximum(Ridge(1.0).fit(x[train], y[train]).predict(x[test]), 0)
    scored = evaluate_folds("ridge", poi[0].toarray(), {"crime": task}, Folds(number=3), [0])
    r2 = next(one["value"] for one in scored.records if one["metric"] == "r2")
    assert r2 == pytest.approx(r2_score(y, by_hand), abs=1e-12)


def test_second_preparation_reads_no_file_again(sources: Sources, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = benchmark(sources, "hafusion")
    first = sources.prepare()
    monkeypatch.setattr("urbankit.city.datasets.benchmark.read_array", None)
    assert sources.prepare().content_hash == first.content_hash
    monkeypatch.undo()
    np.save(folder / "crime_counts.npy", CRIME + 1)
    again = sources.prepare()
    assert again.content_hash != first.content_hash
    assert np.array_equal(again.target("crime").values, CRIME + 1)


def test_layer_that_drops_more_rows_than_it_reads_is_refused(sources: Sources, monkeypatch: pytest.MonkeyPatch) -> None:
    benchmark(sources, "hafusion")
    read = Benchmark.read

    def wrong(self: Benchmark, data: DataFolder, regions: Regions) -> dict[str, Any]:
        layers = dict(read(self, data, regions))
        layers["targets.crime"].dropped = {"a": N + 1}
        return layers

    monkeypatch.setattr(Benchmark, "read", wrong)
    with pytest.raises(UserError, match=r"benchmark: the layer 'targets.crime' drops 13 of 12 rows; the author of"):
        sources.prepare()


def test_short_run_trains_on_a_benchmark(sources: Sources, tmp_path: Path) -> None:
    benchmark(sources, "hafusion")
    run = short_run(
        sources.prepare(),
        tmp_path / "run",
        modalities={"land_use": {"name": "table", "table": "land_use"}, "poi_counts": {"name": "poi_counts"}},
        views={"mobility": {"name": "mobility"}},
        tasks={"crime": {}, "check_ins": {}},
    )
    assert np.isfinite(run.metrics["value"]).all()


def test_pickled_objects_are_refused_and_never_loaded(sources: Sources, tmp_path: Path) -> None:
    folder = benchmark(sources, "hafusion")

    class Loaded:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (tmp_path / "loaded",))

    np.save(folder / "crime_counts.npy", np.array([Loaded()], dtype=object), allow_pickle=True)
    (message,) = messages(sources)
    assert "crime_counts.npy" in message and "pickled Python objects" in message and "astype(float)" in message
    assert not (tmp_path / "loaded").exists()


@pytest.mark.parametrize(
    ("name", "array", "expected"),
    [
        ("mob-adj.npy", FLOWS[:8], "has the shape (8, 12), expected (12, 12) or (1, 12, 12) for the 12 regions"),
        ("poi_dist.npy", POI[:8], "has the shape (8, 26), expected (12, categories)"),
        ("crime_counts.npy", CRIME[:8], "has the shape (8,), expected (12,) or (12, 1)"),
        ("mob-adj.npy", FLOWS - 1, "negative, infinite or missing flows"),
        ("poi_dist.npy", np.where(POI > 5, np.nan, POI), "negative, infinite or missing counts"),
        ("landUse_dist.npy", np.full((N, 3), "a"), "not numbers"),
    ],
)
def test_wrong_array_is_named_with_the_expected_one(
    sources: Sources, name: str, array: np.ndarray, expected: str
) -> None:
    np.save(benchmark(sources, "hafusion") / name, array)
    (message,) = messages(sources)
    assert f"set/{name}: benchmark: " in message and expected in message


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"\x80\x04pickle", b"\x93NUMPY\x01\x00\x05\x00{'des"])
def test_file_that_is_no_array_is_one_message(sources: Sources, content: bytes) -> None:
    (benchmark(sources, "hafusion") / "crime_counts.npy").write_bytes(content)
    (message,) = messages(sources)
    assert "crime_counts.npy" in message and ("is empty" in message or "is not a NumPy array" in message)


def test_array_cut_short_is_refused_before_memory_is_claimed(sources: Sources) -> None:
    path = benchmark(sources, "hafusion") / "poi_dist.npy"
    path.write_bytes(path.read_bytes()[:-8])
    (message,) = messages(sources)
    assert "cut short" in message


def test_all_wrong_files_are_named_at_once(sources: Sources) -> None:
    folder = benchmark(sources, "hafusion")
    np.save(folder / "crime_counts.npy", CRIME[:3])
    np.save(folder / "check_counts.npy", CHECK_INS[:3])
    assert len(messages(sources)) == 2


@pytest.mark.parametrize("classes", [{"0": 1}, [1, 2], {**CLASSES, "12": 1}])
def test_classes_must_cover_the_regions(sources: Sources, classes: Any) -> None:
    (benchmark(sources, "hrep") / "mh_cd.json").write_text(json.dumps(classes))
    (message,) = messages(sources)
    assert "a class for each region 0 to 11" in message


def test_other_layout_is_recognised(sources: Sources) -> None:
    benchmark(sources, "hafusion")
    sources.spec["benchmark"]["layout"] = "hrep"
    (message,) = messages(sources)
    assert "has no mobility_adj.npy" in message and "it looks like `layout: hafusion`" in message


def test_missing_folder_and_unknown_keys_are_reported(sources: Sources) -> None:
    sources.spec["benchmark"] = {"layout": "hrep", "folder": "nowhere"}
    assert "there is no such folder" in messages(sources)[0]
    sources.spec["benchmark"] = {"layout": "hrepp", "foldr": "set"}
    assert {message.split(": ")[1] for message in messages(sources)} >= {"benchmark.layout", "benchmark.foldr"}


def test_layer_from_two_places_is_refused(sources: Sources) -> None:
    benchmark(sources, "hafusion")
    sources.csv("poi.csv", id=["000"], shop=[1])
    sources.spec["poi"] = {"counts": "poi.csv", "region": "id"}
    (message,) = messages(sources)
    assert "`poi` and `benchmark` both give poi" in message


@pytest.fixture
def without_regions(sources: Sources) -> Sources:
    benchmark(sources, "hafusion")
    del sources.spec["regions"]
    return sources


def test_city_without_polygons_has_all_but_geometry(without_regions: Sources) -> None:
    city = without_regions.prepare()
    flows = city.flows()
    assert flows is not None and np.array_equal(flows.toarray(), FLOWS)
    assert city.region_ids == [str(i) for i in range(N)] and not city.has_geometry
    assert np.array_equal(city.target("crime").values, CRIME)
    assert without_regions.prepare().content_hash == city.content_hash
    for attribute in ("xy", "lonlat", "area_km2"):
        with pytest.raises(
            UserError, match="the regions of 'small' have no geometry, which coordinates, areas and maps need"
        ):
            getattr(city, attribute)


@pytest.mark.parametrize("splits", [["folds"], ["random", "folds", "few"]])
def test_run_on_a_city_without_polygons(without_regions: Sources, tmp_path: Path, splits: list[str]) -> None:
    city = without_regions.prepare()
    run = short_run(
        city,
        tmp_path / "run",
        modalities={
            "poi_counts": {"name": "poi_counts"},
            "coordinates": {"name": "coordinates"},
            "shape": {"name": "shape"},
        },
        views={"mobility": {"name": "mobility"}, "poi": {"name": "poi"}, "distance": {"name": "distance"}},
        tasks={"crime": {}},
        evaluation={
            "splits": splits,
            "folds": {"number": 3},
            "few": {"labels": [2], "draws": 2},
            "seeds": [0],
            "floors": ["mean", "location", "raw-ridge"],
            "controls": [],
        },
        predict={"folds": 3},
        report={"figures": True},
    )
    assert np.isfinite(run.metrics["value"]).all()
    assert "floor:raw-ridge" in set(run.metrics["model"]) and "floor:location" not in set(run.metrics["model"])
    notes = " ".join(run.manifest["notes"])
    assert all(f"'{name}'" in notes or name in notes for name in ("distance", "coordinates", "shape"))
    assert "have no geometry" in notes
    assert (tmp_path / "run" / "report.html").is_file()


def test_split_that_needs_locations_is_refused(without_regions: Sources, tmp_path: Path) -> None:
    evaluation = {"splits": ["spatial"], "seeds": [0], "floors": ["mean"], "controls": []}
    views, modalities = {"mobility": {"name": "mobility"}}, {"poi_counts": {"name": "poi_counts"}}
    city = without_regions.prepare()
    with pytest.raises(UserError, match="'spatial' needs locations, but the regions of 'small' have no geometry"):
        short_run(
            city, tmp_path / "run", evaluation=evaluation, views=views, modalities=modalities, tasks={"crime": {}}
        )


def test_sources_at_positions_need_polygons(without_regions: Sources) -> None:
    without_regions.csv("points.csv", lon=[0], lat=[0], kind=["a"])
    without_regions.spec["targets"] = {"kind": {"points": "points.csv", "label": "kind"}}
    (message,) = messages(without_regions)
    assert "targets.kind: needs the geometry of the regions" in message and "`regions`" in message


def test_city_file_without_regions_and_without_a_set_lacks_regions(sources: Sources) -> None:
    del sources.spec["regions"]
    (message,) = messages(sources)
    assert "regions: is missing. Where the regions come from." in message
