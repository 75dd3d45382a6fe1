"""What `report.html` and the comparison hold, read back from the file itself."""

import base64
import hashlib
import json
import re
import shutil
from copy import copy
from dataclasses import replace
from importlib import resources
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import shapely
from helpers.report_runs import EVIL, context_of, furnished, image_source
from shapely.geometry import LineString, MultiPolygon, Point, Polygon, box

from urbankit.analysis import neighbours
from urbankit.city.texts import Text
from urbankit.report.card import model_card
from urbankit.report.figures import Figures
from urbankit.report.page import map_data, write_comparison, write_report
from urbankit.report.page import thumbnails as images
from urbankit.report.page.differences import differences
from urbankit.report.page.geometry import outlines
from urbankit.report.page.layers import map_tasks
from urbankit.report.page.packing import pack_counts, pack_floats, pack_varints
from urbankit.report.style import COLOURS, Drawing
from urbankit.runs.context import RunContext
from urbankit.runs.folder import Run
from urbankit.utils.base_map import base_map_frame
from urbankit.utils.errors import UserError
from urbankit.utils.files import read_json, write_json, write_text


def test_page_needs_no_other_file_and_runs_only_its_script(make_run) -> None:
    run, city = make_run()
    png = run.path / "figures" / "map.png"
    png.parent.mkdir()
    png.write_bytes(b"\x89PNG of a map")
    Figures([Drawing(png, f"a map of {EVIL}")], [f"none of {EVIL}"]).save(png.parent)
    written = write_report(context_of(run, city))
    page = written.path.read_text()
    assert written.path == run.path / "report.html" and written.missing == []
    assert 'role="slider"' not in page  # one run has nothing to compare
    assert EVIL not in page and "://" not in page
    assert not re.search(r"""(src|href)=(?!["']?(data:|#))""", page)
    assert f"data:image/png;base64,{base64.b64encode(png.read_bytes()).decode()}" in page
    assert len(re.findall(r"<script(?! type=.application/json)", page)) == 1
    for tag in ("script", "style"):
        [text] = re.findall(rf"<{tag}>(.*?)</{tag}>", page, flags=re.S)
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in page
    for text in ("mean of the labels", "constant run", "unknown ids", "location (geoclip)", "64 regions", "50.0%"):
        assert text in page


def test_page_data_contain_every_layer_of_the_run(make_run) -> None:
    run, city = make_run()
    page = write_report(context_of(run, city)).path.read_text()
    data = payload(page, "map")
    layers = {layer["id"]: layer for layer in data["runs"][0]["layers"]}
    assert [key for key in layers if "density" in key] == [
        "truth:density", "prediction:density:random", "residual:density:random", "prediction:density:spatial",
        "residual:density:spatial",
    ]  # fmt: skip
    assert {f"cluster:{k}" for k in range(2, 9)} <= set(layers)
    assert {"coverage:rsi", "coverage:svi", "coverage:poi", "coverage:flows"} <= set(layers)
    truth = unpack(layers["truth:density"]["data"])
    np.testing.assert_allclose(truth, city.target("density").values, rtol=1e-6)
    assert layers["truth:density"]["scale"]["log"] and layers["truth:density"]["unit"] == "people/km²"
    assert layers["truth:use"]["classes"] == [EVIL, "park"]
    np.testing.assert_array_equal(unpack(layers["truth:use"]["data"]), np.arange(64) % 2)
    seen = unpack(layers["prediction:density:random"]["data"])
    finite = ~np.isnan(seen)
    assert 10 < finite.sum() < 64
    np.testing.assert_allclose(seen[finite], truth[finite], rtol=1e-6)
    np.testing.assert_array_equal(unpack(layers["coverage:svi"]["data"]), np.where(np.arange(64) % 2, 0, 2))


def test_nearest_regions_and_images_match_the_city(make_run) -> None:
    run, city = make_run()
    page = write_report(context_of(run, city)).path.read_text()
    data = payload(page, "map")
    near = data["runs"][0]["nearest"]
    z = run.vectors - run.vectors.mean(axis=0)
    z /= np.linalg.norm(z, axis=1, keepdims=True)
    similarity = z @ z.T - 2 * np.eye(64)
    nearest = unpack(near["region"]).reshape(64, near["number"])
    assert near["number"] == 8
    np.testing.assert_array_equal(nearest, np.argsort(-similarity, axis=1)[:, :8])
    data = payload(page, "images")
    assert len(data["images"]) == 64  # a street view of a region is the same picture as its tile
    rsi, svi = data["sources"]
    np.testing.assert_array_equal(unpack(rsi["of"]), np.ones(64))
    np.testing.assert_array_equal(unpack(svi["of"]), np.where(np.arange(64) % 2, 0, 2))
    assert base64.b64decode(data["images"][0])[8:12] == b"WEBP"
    np.testing.assert_array_equal(unpack(svi["image"])[:4], unpack(rsi["image"])[[0, 0, 2, 2]])


def test_images_are_reduced_and_then_omitted_to_fit_the_page_size(make_run, monkeypatch) -> None:
    run, city = make_run()
    furnished(city)
    everything = images.thumbnails(city, 10_000_000)
    assert everything.notes == []
    sources = [city.images(name) for name in city.image_sources]
    few = images.thumbnails(city, int(images._estimate(sources, images.Size(1, 80, 60))))
    assert "at most 1 per region" in few.notes[0] and unpack(few.payload["sources"][1]["of"]).max() == 1
    none = images.thumbnails(city, 100)
    assert none.payload["images"] == [] and "left out" in none.notes[0]
    monkeypatch.setattr("urbankit.report.page.builder.MOST_BYTES", 200_000)
    written = write_report(context_of(run, city))
    assert any("left out" in sentence for sentence in written.missing) and "left out" in written.path.read_text()


def test_first_rows_returns_the_first_rows_of_each_region() -> None:
    np.testing.assert_array_equal(images.first_rows(np.array([0, 0, 0, 2, 5, 5]), 2), [0, 1, 3, 4, 5])


def test_rgb_bands_are_chosen_by_name_and_others_stretched() -> None:
    source = image_source("rsi", np.arange(2))
    vars(source).update(
        bands=2,
        dtype="float32",
        band_names=["light", "heat"],
        band_mean=np.array([0.0, 9]),
        band_std=np.array([1.0, 9]),
    )
    pixels = np.array([-2.0, 0.0, 2.0, np.nan]).reshape(1, 1, 2, 2).repeat(2, axis=1)
    shown = images.natural_colours(source, pixels)
    assert shown[0, :, :, 0].ravel().tolist() == [0, 128, 255, 128] and (shown == shown[..., :1]).all()
    source = image_source("rsi", np.arange(1))
    vars(source).update(
        bands=4, dtype="float32", band_names=["B02", "B03", "B04", "B08"], band_mean=np.zeros(4), band_std=np.ones(4)
    )
    pixels = np.array([-2.0, 0, 2, 0]).reshape(1, 4, 1, 1)
    assert images.natural_colours(source, pixels)[0, 0, 0].tolist() == [255, 128, 0]
    assert images._false_colours(source) == ""


def test_packed_numbers_can_be_decoded() -> None:
    values = np.array([0, -1, 1, 63, -64, 64, 8191, -8192, 8192, 1 << 19, -(1 << 19)])
    np.testing.assert_array_equal(unpack(pack_varints(values)), values)
    with pytest.raises(ValueError, match="three bytes"):
        pack_varints(np.array([1 << 20]))
    assert [pack_counts(np.array([n]))["type"] for n in (255, 256, 65_536)] == ["u1", "u2", "u4"]
    assert np.isnan(unpack(pack_floats([np.nan, 1.5]))[0])


def test_outlines_keep_holes_parts_order_and_area() -> None:
    ring = Polygon(box(0, 0, 900, 900).exterior.coords, [box(300, 300, 600, 600).exterior.coords])
    parts = MultiPolygon([box(1000, 0, 1900, 900), box(1000, 1000, 1100, 1100)])
    dot = Point(500, 1500).buffer(0.001)
    frame = gpd.GeoDataFrame(geometry=[ring, None, parts, dot, Polygon()], crs="EPSG:32618")
    packed = outlines(frame)
    rings, polygons = regions_of(packed)
    assert rings == [2, 0, 2, 1, 0]
    assert polygons[0][0].area == pytest.approx(900**2, rel=1e-3) and polygons[0][1].area == pytest.approx(
        300**2, rel=1e-2
    )
    assert polygons[3][0].area > 0  # too small for the grid, but still there
    signs = [[np.sign(signed_area(ring)) for ring in of] for of in polygons]
    assert signs[0] == [1, -1] and signs[2] == [1, 1]


def test_simplified_regions_keep_common_borders() -> None:
    rng = np.random.default_rng(0)
    wave = np.column_stack([np.linspace(0, 1000, 400), 500 + rng.normal(size=400)])
    below = Polygon([*wave, (1000, 0), (0, 0)])
    above = Polygon([*wave, (1000, 1000), (0, 1000)])
    _, ((low,), (high,)) = regions_of(outlines(gpd.GeoDataFrame(geometry=[below, above], crs="EPSG:32618")))
    assert low.intersection(high).area < 1 and shapely.union(low, high).area == pytest.approx(1e6, rel=1e-3)


def test_many_points_are_simplified_further(monkeypatch) -> None:
    monkeypatch.setattr("urbankit.report.page.geometry.MOST_POINTS", 200)
    frame = gpd.GeoDataFrame(geometry=[Point(0, 0).buffer(1000, quad_segs=500)], crs="EPSG:32618")
    packed = outlines(frame)
    assert unpack(packed["points"]).sum() <= 200


def test_targets_come_from_predictions_if_the_city_is_gone(make_run) -> None:
    run, _ = make_run()
    context = RunContext(
        run, None, run.embeddings[["region_id", "geometry"]], [], ["The city is not available any more."]
    )
    ids = context.regions["region_id"].to_numpy()
    density, use = map_tasks([], run.predictions, ids)
    assert density.name == "density" and use.classes == (EVIL, "park")
    finite = np.isfinite(density.truth)
    np.testing.assert_array_equal(density.truth[finite], (100.0 * (np.arange(64) // 8) + 10)[finite])
    written = write_report(context)
    assert written.missing[0].startswith("The city is not") and any("images" in text for text in written.missing)
    data = payload(written.path.read_text(), "map")
    groups = {layer["group"] for layer in data["runs"][0]["layers"]}
    assert groups == {"density", "use", "Clusters of the embeddings"}


@pytest.mark.parametrize(
    "lost",
    [
        ["metrics.parquet"], ["predictions.parquet"], ["embeddings.parquet"], ["recipe.yaml"],
        ["metrics.parquet", "predictions.parquet", "embeddings.parquet", "history.parquet", "recipe.yaml"],
    ],
)  # fmt: skip
@pytest.mark.parametrize("how", ["gone", "damaged"])
def test_interrupted_run_gives_a_page_with_the_available_results(make_run, lost: list[str], how: str) -> None:
    run, city = make_run()
    write_json(run.path / "manifest.json", read_json(run.path / "manifest.json") | {"status": "failed"})
    for name in lost:
        if how == "gone":
            (run.path / name).unlink()
        else:
            (run.path / name).write_bytes(b"PAR1 nonsense: [")
    for city_or_none in (city, None):
        context = RunContext.of(Run.open(run.path), None if city_or_none is None else furnished(city_or_none))
        written = write_report(context)
        page = written.path.read_text()
        assert "What is missing" in page or city_or_none is not None
        assert "<h1>" in page and "manifest.json" in page


def test_report_of_a_run_of_another_version_is_written(make_run) -> None:
    run, city = make_run()
    write_text(
        run.path / "recipe.yaml", "name: old\nflux: {capacitor: 88}\nmodalities: [rsi]\nevaluation: {splits: [moon]}\n"
    )
    write_json(
        run.path / "manifest.json", {"status": "done", "seconds": None, "notes": None, "versions": [], "new": {}}
    )
    table = pd.read_parquet(run.path / "metrics.parquet").rename(columns={"split": "protocol"})
    table.to_parquet(run.path / "metrics.parquet")
    written = write_report(RunContext.of(Run.open(run.path), furnished(city)))
    page = written.path.read_text()
    assert "capacitor" in page and any(text.startswith("No section 'Results'") for text in written.missing)


def test_report_is_written_without_tasks_without_images_and_for_one_region(make_run) -> None:
    run, city = make_run(side=2, tasks=())
    context = context_of(run, city)
    city.image_sources = city.overhead_sources = []
    written = write_report(context)
    assert "There are no images of regions: the city has none." in written.missing
    assert "nothing to score" in written.path.read_text()
    layers = payload(written.path.read_text(), "map")["runs"][0]["layers"]
    assert [layer["id"] for layer in layers[:3]] == ["cluster:2", "cluster:3", "cluster:4"]
    run, city = make_run(side=1, tasks=())
    data = payload(write_report(context_of(run, city)).path.read_text(), "map")
    assert data["runs"][0]["nearest"]["number"] == 0


# Base map


def base_map() -> tuple[gpd.GeoDataFrame, str]:
    """A lake with an island in the fixture's city, two roads, of which one leaves the city, and names."""
    lake = box(1000, 1000, 3000, 3000).difference(box(1500, 1500, 2000, 2000))
    lines = [LineString([(-500, 4000), (8500, 4000)]), LineString([(0, 0), (0.01, 0), (4000, 8000)])]
    places = [Point(4000, 4000), Point(100, 7000)]
    kinds, names = ["water", "motorway", "primary", "city", "suburb"], [None, None, None, EVIL, "</script><b>"]
    return base_map_frame(kinds, names, [lake, *lines, *places], "EPSG:32618"), f"me & {EVIL}"


def test_page_shows_the_base_map_of_the_city(make_run) -> None:
    run, city = make_run()
    city.base_map = base_map
    page = write_report(context_of(run, city)).path.read_text()
    data = payload(page, "map")
    base, unit = data["base"], data["outlines"]["unit"]
    assert unpack(base["water"]["points"]).tolist() == [5, 5]
    motorway, trunk, primary = base["roads"]
    assert unpack(trunk["points"]).tolist() == [] and unpack(primary["points"]).tolist() == [2]
    xy = np.cumsum(unpack(motorway["steps"]).reshape(-1, 2), axis=0) * unit
    np.testing.assert_allclose(xy, [[-500, 4000], [8500, 4000]], atol=unit)  # y counts downwards from 8000
    assert base["places"]["names"] == [EVIL, "</script><b>"] and unpack(base["places"]["kinds"]).tolist() == [0, 2]
    assert EVIL not in page and "</script><b>" not in page and "me &amp; &lt;script&gt;" in page
    assert 'id="ground"' in page


def test_page_without_a_base_map_has_no_switch_for_it(make_run) -> None:
    run, city = make_run()
    page = write_report(context_of(run, city)).path.read_text()
    assert 'id="ground"' not in page and "base" not in payload(page, "map")
    frame, _ = base_map()
    city.base_map = lambda: (frame[:0], "nobody")
    assert "base" not in payload(write_report(context_of(run, city)).path.read_text(), "map")


def test_base_map_that_cannot_be_read_is_noted(make_run) -> None:
    run, city = make_run()

    def damaged() -> None:
        raise UserError("base_map.parquet: is damaged")

    city.base_map = damaged
    written = write_report(context_of(run, city))
    assert any(text.startswith("No base map") and "is damaged" in text for text in written.missing)
    assert payload(written.path.read_text(), "map")["runs"]


# Comparison


def test_comparison_shows_the_first_base_map_that_a_city_has(
    make_run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, city = make_run()
    paths = two_runs(make_run, tmp_path)
    contexts = {path: context_of(Run.open(path), copy(city)) for path in paths}
    monkeypatch.setattr(RunContext, "of", lambda run: contexts[run.path])
    one, other = (contexts[path].city for path in paths)
    other.base_map = base_map
    for first in (lambda: None, lambda: (base_map()[0][:0], "nobody"), lambda: 1 / 0):
        one.base_map = first
        written = write_comparison(list(paths), ["a", "b"], tmp_path / "compare.html")
        assert payload(written.path.read_text(), "map")["base"]["credit"] == base_map()[1]
        assert not any("base map" in text for text in written.missing)
    other.base_map = one.base_map
    written = write_comparison(list(paths), ["a", "b"], tmp_path / "compare.html")
    assert sum("No base map" in text for text in written.missing) == 1


def test_runs_are_compared_on_one_map(make_run, tmp_path: Path) -> None:
    one, other = two_runs(make_run, tmp_path)
    written = write_comparison([one, other], ["with <b>", "without"], tmp_path / "compare.html")
    page = written.path.read_text()
    assert "with &lt;b&gt;" in page and "with <b>" not in page
    data = payload(page, "map")
    assert [run["name"] for run in data["runs"]] == ["with <b>", "without"]
    assert 'id="divider"' in page and 'role="slider"' in page and 'id="other"' in page
    assert "Each run less without" in page and "best" in page


def test_differences_are_paired_by_seed(make_run, tmp_path: Path) -> None:
    one, other = (Run.open(path).metrics for path in two_runs(make_run, tmp_path))
    rows = [row for _, rows in differences("b", {"a": one, "b": other}) for row in rows]
    assert any("-0.500 ± 0.000" in row for row in rows)  # R² of every seed is half a point higher in the other


def test_compared_runs_show_titles_of_targets_and_city(
    make_run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, city = make_run()
    one, other = two_runs(make_run, tmp_path)
    titled = {name: replace(city.target(name), title="Same <title>") for name in ("use", "density")}
    city.target = titled.__getitem__
    city.manifest = {"spec": {"title": "Small town"}}
    contexts = {path: context_of(Run.open(path), city) for path in (one, other)}
    monkeypatch.setattr(RunContext, "of", lambda run: contexts[run.path])
    page = write_comparison([one, other], ["a", "b"], tmp_path / "compare.html").path.read_text()
    assert ">Small town</td>" in page
    for name in titled:
        assert f"Same &lt;title&gt; ({name})</th>" in page and f"<th>{name}</th>" not in page


def test_runs_that_cannot_be_compared_are_named(make_run, tmp_path: Path) -> None:
    one, other = two_runs(make_run, tmp_path)
    write_json(other / "manifest.json", read_json(other / "manifest.json") | {"status": "failed"})
    (other / "embeddings.parquet").unlink()
    written = write_comparison([one, other, tmp_path / "nowhere"], out=tmp_path / "compare.html")
    assert any("other: the run is not done" in text for text in written.missing)
    assert any("nowhere" in text and "not a run folder" in text for text in written.missing)
    with pytest.raises(UserError, match="is not a run folder"):
        write_comparison([tmp_path / "nowhere", tmp_path / "nor-here"], out=tmp_path / "compare.html")
    with pytest.raises(UserError, match="2 runs and 1 names"):
        write_comparison([one, other], ["a"], tmp_path / "compare.html")


def two_runs(make_run: Any, tmp_path: Path) -> tuple[Path, Path]:
    """Two runs whose city is not available any more, the second with an R² that is higher by a half."""
    run, _ = make_run()
    facts = {"city": "small", "city_hash": "abc", "seed": 0, "city_folder": str(tmp_path / "gone")}
    write_json(run.path / "manifest.json", read_json(run.path / "manifest.json") | facts)
    recipe = (run.path / "recipe.yaml").read_text().replace("demo:\n    regions: 64\n    seed: 7", "prepared: /gone")
    write_text(run.path / "recipe.yaml", recipe)
    table = pd.read_parquet(run.path / "metrics.parquet")
    other = tmp_path / "other"
    shutil.copytree(run.path, other)
    table.loc[(table["metric"] == "r2") & (table["model"] == "urbanmmcl"), "value"] += 0.5
    table.to_parquet(other / "metrics.parquet")
    return run.path, other


# Reading a page back


def payload(page: str, key: str) -> Any:
    [text] = re.findall(rf'<script type="application/json" id="data-{key}">(.*?)</script>', page, flags=re.S)
    assert "<" not in text and "\u2028" not in text
    return json.loads(text)


def unpack(packed: dict[str, str]) -> np.ndarray:
    data = base64.b64decode(packed["data"])
    if packed["type"] != "varint":
        return np.frombuffer(data, {"u1": "u1", "u2": "<u2", "u4": "<u4", "i4": "<i4", "f4": "<f4"}[packed["type"]])
    values, value, shift = [], 0, 0
    for byte in data:
        value |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            values.append((value >> 1) ^ -(value & 1))
            value = shift = 0
    assert len(values) == int(packed["length"])
    return np.array(values)


def regions_of(packed: dict[str, Any]) -> tuple[list[int], list[list[Polygon]]]:
    """The number of rings of each region, and each ring as a polygon in metres."""
    rings, points = unpack(packed["rings"]).tolist(), unpack(packed["points"])
    xy = np.cumsum(unpack(packed["steps"]).reshape(-1, 2), axis=0) * packed["unit"]
    parts = iter(np.split(xy, np.cumsum(points)[:-1]))
    return rings, [[Polygon(next(parts)) for _ in range(count)] for count in rings]


def signed_area(ring: Polygon) -> float:
    x, y = np.array(ring.exterior.coords).T
    return float((x[:-1] * y[1:] - x[1:] * y[:-1]).sum() / 2)


def test_classes_have_one_colour_in_the_page_and_the_figures() -> None:
    script = (resources.files("urbankit.report.page") / "assets" / "colours.js").read_text()
    listed = re.search(r"const CLASSES = \[(.*?)\]", script, flags=re.S)
    assert listed is not None and tuple(re.findall(r"#\w{6}", listed[1])) == COLOURS


def test_page_says_that_nearest_regions_of_many_are_approximate(make_run, monkeypatch) -> None:
    monkeypatch.setattr(map_data, "MOST_COMPARED", 3)
    monkeypatch.setattr(neighbours, "MOST_COMPARED", 3)
    page = write_report(context_of(*make_run()))
    sentences = [sentence for sentence in page.missing if "nearest regions are approximate" in sentence]
    assert len(sentences) == 1
    assert sentences[0] in page.path.read_text(encoding="utf-8")


def test_titles_and_descriptions_replace_ids_on_the_page_and_the_card(make_run) -> None:
    run, city = make_run()
    use = city.target("use")
    texts = {EVIL: Text("Danger", f"Not {EVIL}")}
    titled = {"use": replace(use, title="Land use", description=f"What the land is for {EVIL}", classes=texts)}
    titled["density"] = replace(city.target("density"), title="Population <density>")
    city.target = titled.__getitem__
    city.manifest = {"spec": {"title": "Small town", "images": {"rsi": {"title": "Satellite images"}}}}
    context = context_of(run, city)
    page = write_report(context).path.read_text()
    assert "<h1>Population &lt;density&gt; and Land use in Small town</h1>" in page and EVIL not in page
    assert "<th>Land use</th>" in page
    layers = {layer["id"]: layer for layer in payload(page, "map")["runs"][0]["layers"]}
    assert layers["truth:use"]["classes"] == ["Danger", "park"] and layers["truth:use"]["notes"] == [f"Not {EVIL}", ""]
    assert layers["truth:use"]["description"].startswith("What the land is for")
    assert layers["truth:density"]["group"] == "Population <density> (people/km²)"
    assert layers["truth:use"]["task"] == "use" and layers["coverage:rsi"]["label"] == "Satellite images"
    assert payload(page, "images")["sources"][0]["title"] == "Satellite images"
    card = model_card(run, city, context.tasks)
    assert "| Land use |" in card and "- Land use (`use`): What the land is for &lt;script&gt;" in card
    assert "on Small town" in card
