"""Places of Overture Maps, written by pyarrow in the layout of its releases."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import shapely
from helpers.short_run import short_run
from helpers.small_city import Sources, lonlat, squares

N = 12
PLACES = [("cafe", 500, 500, 0.9), ("cafe", 600, 500, 0.2), ("museum", 1500, 500, 0.8), (None, 500, 500, 0.9),
          ("cafe", 90_000, 500, 0.9), ("レストラン", 1500, 600, 0.7)]  # fmt: skip


def write(path: Path, places: list[Any] = PLACES, **changes: Any) -> None:
    names, x, y, confidence = zip(*places, strict=True)
    points = shapely.points(*lonlat(x, y))
    columns: dict[str, Any] = {
        "id": [str(i) for i in range(len(names))],
        "geometry": pa.array(shapely.to_wkb(points).tolist(), pa.binary()),
        "categories": [{"primary": name, "alternate": ["shop"]} for name in names],
        "confidence": confidence,
    }
    pq.write_table(pa.table({k: v for k, v in (columns | changes).items() if v is not None}), path)


@pytest.fixture
def places(sources: Sources) -> Sources:
    sources.regions(ids=[str(i) for i in range(N)], shapes=squares(count=N))
    sources.spec["overture"] = "places.parquet"
    write(sources.folder / "places.parquet")
    return sources


def counts(sources: Sources) -> dict[str, list[float]]:
    poi = sources.prepare().poi_counts()
    assert poi is not None
    return dict(zip(poi[1], poi[0].toarray().T[:, :2].tolist(), strict=True))


def test_places_are_points_of_interest(places: Sources) -> None:
    assert counts(places) == {"cafe": [2, 0], "museum": [0, 1], "レストラン": [0, 1]}
    report = places.prepare().report.sources[1]
    assert (report.rows, report.matched) == (6, 4)
    assert report.dropped == {"without a category": 1, "outside every region": 1}


def test_places_of_low_confidence_are_left_out(places: Sources) -> None:
    places.spec["overture"] = {"file": "places.parquet", "confidence": 0.5}
    assert counts(places)["cafe"] == [1, 0]
    report = places.prepare().report.sources[1]
    assert report.rows == 6 and report.dropped["of a low confidence"] == 1


def test_rare_categories_become_other(places: Sources) -> None:
    places.spec["overture"] = {"file": "places.parquet", "most": 1}
    assert counts(places) == {"cafe": [2, 0], "other": [0, 2]}


def test_later_release_names_its_fields(places: Sources) -> None:
    write(
        places.folder / "places.parquet",
        categories=None,
        basic_category=[name for name, *_ in PLACES],
        taxonomy=[{"primary": name, "hierarchy": ["x"]} for name, *_ in PLACES],
    )
    message = places.refusal()
    assert "has no field 'categories.primary'" in message
    assert "this release has basic_category, taxonomy.primary: name one by `category`" in message
    for field in ("basic_category", "taxonomy.primary"):
        places.spec["overture"] = {"file": "places.parquet", "category": field}
        assert counts(places)["cafe"] == [2, 0]


def test_other_theme_lists_its_columns(places: Sources) -> None:
    write(places.folder / "places.parquet", categories=None, confidence=None)
    assert "its columns are id, geometry: is it the theme places?" in places.refusal()


def test_file_cut_short_is_one_message(places: Sources) -> None:
    path = places.folder / "places.parquet"
    path.write_bytes(path.read_bytes()[:-100])
    assert places.refusal().startswith(f"{path}: overture: cannot be read")


def test_points_as_structures_are_read(places: Sources) -> None:
    lon, lat = lonlat(*list(zip(*PLACES, strict=True))[1:3])
    structures = [{"x": float(x), "y": float(y)} for x, y in zip(lon, lat, strict=True)]
    write(places.folder / "places.parquet", geometry=structures)
    assert counts(places)["cafe"] == [2, 0]


def test_run_trains_on_places(places: Sources, tmp_path: Path) -> None:
    places.csv("targets.csv", id=range(N), price=np.arange(N) + 1.0)
    places.spec["targets"] = {"price": {"table": "targets.csv", "region": "id", "column": "price"}}
    city = places.prepare()
    run = short_run(city, tmp_path / "run", modalities={"poi_counts": {"name": "poi_counts"}}, tasks={"price": {}})
    assert np.isfinite(run.metrics["value"]).all()
