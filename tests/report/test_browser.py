"""`report.html` in headless Chromium; skipped where there is none."""

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from helpers.browser import Browser, chromium
from helpers.report_runs import context_of
from shapely.geometry import LineString, Point, box

from urbankit.report.figures import Figures
from urbankit.report.page import write_report
from urbankit.report.page.builder import ReportPage
from urbankit.report.page.map_data import map_data, run_data
from urbankit.report.page.missing import Missing
from urbankit.report.style import Drawing
from urbankit.runs.context import RunContext
from urbankit.runs.folder import Run
from urbankit.runs.writers import write_embeddings
from urbankit.utils.base_map import base_map_frame
from urbankit.utils.files import read_json, write_json

pytestmark = pytest.mark.skipif(chromium() is None, reason="no Chromium to drive")

INERT = """</script><img src=x onerror="document.title='owned'"><svg onload=alert(1)>'"\u2028&amp;"""
"""A name that would do something wherever it was read as markup or as a script."""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with Browser() as one:
        yield one


@pytest.fixture
def page(make_run, browser: Browser) -> Iterator[Path]:
    """The page of a run on 64 regions, open, with the map in sight; nothing may have gone wrong on it by the end."""
    run, city = make_run()
    png = run.path / "figures" / "map.png"
    png.parent.mkdir()
    png.write_bytes(b"")
    Figures([Drawing(png, INERT)], [INERT]).save(png.parent)
    ids = [f"r{i}" for i in range(63)] + [INERT]
    rename(run, city, ids)
    path = write_report(context_of(run, city)).path
    opened(browser, path)
    yield path
    assert browser.errors == []
    assert browser.run("document.title").startswith("density and use in ")


def opened(browser: Browser, path: Path) -> None:
    """Open a page on a desktop, in light colours, with the map in sight."""
    browser.errors.clear()
    browser.resize(1280, 900)
    browser.dark(False)
    browser.open(path)
    look(browser)


def rename(run, city, ids: list[str]) -> None:
    """Give the regions of a run and its city other ids."""
    names = dict(zip(city.region_ids, ids, strict=True))
    city.regions["region_id"] = city.region_ids = ids
    table = pd.read_parquet(run.path / "predictions.parquet")
    table.assign(region_id=table["region_id"].map(names)).to_parquet(run.path / "predictions.parquet")
    write_embeddings(run.path, city, np.random.default_rng(0).normal(size=(len(ids), 5)))


def look(browser: Browser) -> None:
    browser.run("document.getElementById('map').scrollIntoView({behavior: 'instant'})")


def centre(browser: Browser, region: int) -> list[float]:
    """Where the middle of a region is in the window."""
    return browser.run(
        "(() => {const {map} = page, box = map.overlay.getBoundingClientRect();"
        f"const [x, y] = map.shapes.centres.subarray({2 * region}, {2 * region + 2});"
        "return [box.left + map.left + map.scale * x, box.top + map.top + map.scale * y]})()"
    )


def text(browser: Browser, element: str) -> str:
    return browser.run(f"document.getElementById('{element}').textContent")


def colour(browser: Browser, region: int) -> list[int]:
    """The colour in the middle of a region."""
    return browser.run(
        "(() => {const {map} = page, one = document.createElement('canvas'); map.draw();"
        f"const [x, y] = map.shapes.centres.subarray({2 * region}, {2 * region + 2});"
        "const pen = one.getContext('2d', {willReadFrequently: true});"
        "pen.drawImage(map.base, -(map.left + map.scale * x) * map.ratio, -(map.top + map.scale * y) * map.ratio);"
        "return [...pen.getImageData(0, 0, 1, 1).data]})()"
    )


def test_hover_shows_the_region_and_its_values(page: Path, browser: Browser) -> None:
    browser.mouse("mouseMoved", *centre(browser, 20))
    assert browser.until("!document.getElementById('tip').hidden")
    assert text(browser, "tip").startswith("r20density (people/km²)measured210")
    assert browser.until("document.getElementById('live').textContent") == "r20, measured: 210 people/km²"
    browser.mouse("mouseMoved", *centre(browser, 63))
    assert INERT in text(browser, "tip")


def test_every_layer_can_be_chosen_and_is_drawn(page: Path, browser: Browser) -> None:
    layers = browser.run("[...document.querySelectorAll('#layer option')].map((o) => o.value)")
    assert len(layers) == 5 + 5 + 7 + 4
    for layer in layers:
        browser.run(f"(() => {{const s = document.getElementById('layer'); s.value = {layer!r};"
                    "s.dispatchEvent(new Event('change'))})()")  # fmt: skip
        assert browser.run("page.layer.id") == layer
        assert colour(browser, 30)[3] == 255 and text(browser, "legend")
    assert f"layer={layers[-1].replace(':', '%3A')}" in browser.run("location.hash")


def test_colours_follow_the_values_and_stripes_mark_missing_ones(page: Path, browser: Browser) -> None:
    assert colour(browser, 56)[0] > 200 and colour(browser, 56)[2] < 90  # the densest: viridis ends in yellow
    assert colour(browser, 8)[0] < 80  # the least dense: it begins in dark violet
    assert "no value 1" in text(browser, "legend")


def test_click_selects_a_region_and_shows_images_and_nearest_regions(page: Path, browser: Browser) -> None:
    browser.click(*centre(browser, 10))
    assert browser.run("page.chosen") == 10
    panel = text(browser, "panel")
    assert panel.startswith("r10") and "Most like it" in panel and "measured110" in panel
    assert browser.run("document.querySelectorAll('#panel .near button').length") == 8
    assert browser.run("[...document.querySelectorAll('#panel img')].every((i) => i.complete && i.naturalWidth > 0)")
    assert browser.run("location.hash").startswith("#region=r10&layer=")
    browser.run("document.querySelector('#panel .near button').click()")
    assert browser.run("page.chosen") != 10 and browser.run("page.chosen") >= 0
    browser.click(*centre(browser, 63))
    assert browser.run("document.querySelector('#panel h3').textContent") == INERT
    assert browser.run("document.querySelectorAll('#panel svg, #panel [onerror]').length") == 0


def test_a_link_leads_to_the_same_view(page: Path, browser: Browser) -> None:
    browser.open(page, "#region=r7&layer=residual%3Adensity%3Aspatial")
    browser.until("document.readyState === 'complete'")
    assert browser.run("[page.ids[page.chosen], page.layer.id]") == ["r7", "residual:density:spatial"]
    assert browser.run("document.querySelectorAll('#panel img').length") > 0
    browser.open(page, "#region=nobody&layer=nothing")
    assert browser.run("[page.chosen, page.layer.id]") == [-1, "truth:density"]


def test_keyboard_moves_zooms_and_selects(page: Path, browser: Browser) -> None:
    browser.run("document.getElementById('overlay').focus()")
    before = browser.run("[page.map.scale, page.map.left]")
    browser.key("+")
    browser.key("ArrowRight")
    after = browser.run("[page.map.scale, page.map.left]")
    assert after[0] > before[0] and after[1] < before[1]
    browser.key("0")
    assert browser.run("page.map.fitted")
    browser.key("ArrowRight", shift=True)
    first = browser.run("page.map.marks.focus")
    browser.key("ArrowRight", shift=True)
    browser.key("ArrowUp", shift=True)
    # The fixture counts from south to north, then eastwards.
    assert browser.run("page.map.marks.focus") == first + 8 + 1
    browser.key("Enter")
    assert browser.run("page.chosen") == first + 9
    browser.key("Escape")
    assert browser.run("page.chosen") == -1


def test_drag_wheel_and_buttons_move_the_map(page: Path, browser: Browser) -> None:
    x, y = centre(browser, 27)
    browser.mouse("mouseWheel", x, y, deltaX=0, deltaY=-100)
    time.sleep(0.5)
    assert browser.run("page.map.fitted")  # nobody has touched the map: the page scrolls
    look(browser)
    x, y = centre(browser, 27)
    browser.click(x, y)
    browser.mouse("mouseWheel", x, y, deltaX=0, deltaY=-300)
    assert browser.until("!page.map.fitted")
    assert browser.run("page.map.at(...[0, 1].map((d) => page.map.shapes.centres[54 + d] * page.map.scale"
                       " + (d ? page.map.top : page.map.left)))") == 27  # fmt: skip
    left = browser.run("page.map.left")
    browser.mouse("mousePressed", x, y, button="left", clickCount=1)
    browser.mouse("mouseMoved", x + 60, y, button="left", buttons=1)
    browser.mouse("mouseReleased", x + 60, y, button="left", clickCount=1)
    assert browser.run("page.map.left") == pytest.approx(left + 60) and browser.run("page.chosen") == 27
    browser.run("document.getElementById('fit').click()")
    assert browser.run("page.map.fitted")


def test_table_of_all_layers_is_saved_as_csv(page: Path, browser: Browser, tmp_path: Path) -> None:
    browser.call("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(tmp_path))
    assert browser.run("document.getElementById('csv').hidden") is False
    browser.run("document.getElementById('csv').click()")
    path = tmp_path / "regions.csv"
    end = time.monotonic() + 10
    while not path.exists() and time.monotonic() < end:
        time.sleep(0.05)
    table = pd.read_csv(path, dtype={"region_id": str})
    assert path.read_bytes().startswith(b"\xef\xbb\xbf") and len(table) == 64
    assert table["region_id"].iloc[-1] == INERT
    assert table["density (people/km²), measured"].iloc[20] == pytest.approx(210)
    assert table["use, measured"].iloc[1] == "park" and table["area_km2"].iloc[0] == 1
    assert not any("residual" in name for name in table.columns)


def test_search_selects_a_region(page: Path, browser: Browser) -> None:
    browser.run("document.getElementById('search').focus()")
    for character in "R4":
        browser.key(character)
    matches = browser.run("[...document.querySelectorAll('#found li')].map((li) => li.textContent)")
    assert matches == ["r4", *(f"r4{i}" for i in range(7))]
    browser.key("ArrowDown")
    browser.key("Enter")
    assert browser.run("page.ids[page.chosen]") == "r40"
    assert browser.run("document.getElementById('found').hidden")


def test_page_on_a_phone_has_no_horizontal_scroll(page: Path, browser: Browser) -> None:
    browser.resize(360, 740, phone=True, scale=2)
    browser.open(page, "#region=r7")
    for layer in ("truth:density", "residual:density:spatial", "truth:use", "cluster:8"):
        browser.run(f"page.show({layer!r})")
        assert browser.run("document.documentElement.scrollWidth") == 360
    assert colour(browser, 30)[3] == 255


def test_printed_page_shows_the_map_and_opens_all_sections(page: Path, browser: Browser) -> None:
    browser.dark(True)
    browser.run(
        "addEventListener('beforeprint', () => (window.printed = {"
        "open: document.querySelectorAll('details:not([open])').length, theme: page.map.theme.background}))"
    )
    pdf = browser.pdf()
    assert pdf.startswith(b"%PDF") and pdf.count(b"/Type /Page\n") >= 2
    assert browser.run("printed") == {"open": 0, "theme": "#ffffff"}
    assert browser.run("document.querySelectorAll('details[open]').length") == 0


def test_texts_of_the_data_are_escaped_and_dark_mode_changes_the_colours(page: Path, browser: Browser) -> None:
    assert browser.run("document.querySelectorAll('figcaption')[0].textContent") == INERT
    assert browser.run("document.querySelectorAll('main img[src=x], svg').length") == 0
    light = browser.run("getComputedStyle(document.body).backgroundColor")
    browser.dark(True)
    assert browser.until(f"getComputedStyle(document.body).backgroundColor !== {light!r}")
    assert browser.until('page.map.theme.background !== "#ffffff"')


def test_map_can_show_two_runs(make_run, browser: Browser, tmp_path: Path) -> None:
    run, city = make_run()
    context = context_of(run, city)
    runs = [run_data(context, name, Missing()) for name in ("first", "second")]
    page = ReportPage("two", "", Missing())
    page.add_map(lambda: map_data(context.regions, runs))
    path = page.write(tmp_path / "two.html", city).path
    browser.errors.clear()
    browser.resize(1280, 900)
    browser.open(path, "#run=second&region=r9")
    assert browser.run("page.run.name") == "second"
    heads = browser.run("[...document.querySelectorAll('.values thead th')].map((th) => th.textContent)")
    assert heads == ["first", "second"] and browser.errors == []


@pytest.fixture
def compared(make_run, browser: Browser, tmp_path: Path) -> Iterator[Path]:
    """The map of three runs, of which the second predicts ten times as much and the third nothing."""
    run, city = make_run()
    first, third = (run_data(context_of(run, city), name, Missing()) for name in ("first", INERT))
    predictions = pd.read_parquet(run.path / "predictions.parquet")
    predictions["prediction"] = predictions["prediction"].where(predictions["task"] != "density", 2100.0)
    predictions.to_parquet(run.path / "predictions.parquet")
    second = run_data(context_of(Run.open(run.path), city), "second", Missing())
    third["layers"] = [layer for layer in third["layers"] if layer["id"].startswith("coverage:")]
    page = ReportPage("several", "", Missing())
    page.add_map(lambda: map_data(city.regions, [first, second, third]))
    path = page.write(tmp_path / "several.html", city).path
    opened(browser, path)
    yield path
    assert browser.errors == []


def choose(browser: Browser, element: str, value: str) -> None:
    browser.run(f"(() => {{const s = document.getElementById('{element}'); s.value = {value!r};"
                "s.dispatchEvent(new Event('change'))})()")  # fmt: skip


def side_colours(browser: Browser, region: int) -> list[list[int]]:
    """The colours of a region with the divider right of everything, and left of everything."""
    colours = []
    for percent in (100, 0):
        browser.run(f"page.divider.move({percent})")
        colours.append(colour(browser, region))
    return colours


def test_two_runs_are_compared_with_a_divider_on_one_scale(compared: Path, browser: Browser) -> None:
    assert browser.run("[page.run.name, page.other.name, page.layer.id]") == [
        "first", "second", "prediction:density:random",
    ]  # fmt: skip
    assert [text(browser, name) for name in ("left", "right")] == ["first", "second"]
    browser.run("page.show('residual:density:random')")
    ends = browser.run("page.shown.map((run) => run.find(page.layer.id).ends)")
    assert ends[0] == ends[1] and ends[0]["high"] > 1000 and ends[0]["low"] == -ends[0]["high"]
    region = int(np.flatnonzero(~np.array(browser.run("Array.from(page.map.sides[0].bins, (bin) => bin < 0)")))[0])
    left, right = side_colours(browser, region)
    assert min(left[:3]) > 200  # no residual: the middle of the scale
    assert right[2] > right[0] + 40  # overestimated: blue
    browser.run("page.show('cluster:4')")  # of the same embeddings, so that all colours agree
    left, right = side_colours(browser, 11)
    assert left == right
    choose(browser, "other", "")
    assert browser.run("[page.map.sides.length, document.getElementById('divider').hidden]") == [1, True]
    browser.run("page.show('residual:density:random')")
    assert browser.run("page.run.find('residual:density:random').ends.high") < 1000  # its own scale again


def test_divider_is_moved_by_mouse_finger_and_keys(compared: Path, browser: Browser) -> None:
    assert browser.run("document.getElementById('divider').getAttribute('role')") == "slider"
    x, y, width = browser.run(
        "(() => {const box = page.map.overlay.getBoundingClientRect(); return [box.left, box.top + 200, box.width]})()"
    )
    browser.mouse("mousePressed", x + width / 2, y, button="left", clickCount=1)
    browser.mouse("mouseMoved", x + width / 4, y, button="left", buttons=1)
    browser.mouse("mouseReleased", x + width / 4, y, button="left", clickCount=1)
    assert browser.run("page.map.divided") == pytest.approx(0.25, abs=0.01)
    assert browser.run("page.chosen") == -1 and browser.run("page.map.fitted")
    assert "with=second&at=25" in browser.run("location.hash")
    browser.run("document.getElementById('divider').focus()")
    browser.key("ArrowRight")
    browser.key("ArrowRight", shift=True)
    assert browser.run("document.getElementById('divider').ariaValueNow") == "37"
    assert (
        browser.run("document.getElementById('divider').ariaValueText") == "first on the left 37 %, second on the right"
    )
    browser.key("End")
    browser.key("ArrowRight")
    assert browser.run("page.map.divided") == 1
    browser.key("Home")
    assert browser.run("page.map.divided") == 0
    finger = [{"x": x, "y": y}]
    browser.call("Input.dispatchTouchEvent", type="touchStart", touchPoints=finger)
    browser.call("Input.dispatchTouchEvent", type="touchMove", touchPoints=[{"x": x + 0.6 * width, "y": y}])
    browser.call("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])
    assert browser.run("page.map.divided") == pytest.approx(0.6, abs=0.02)


def test_both_runs_are_in_the_tip_and_the_address(compared: Path, browser: Browser) -> None:
    browser.run("page.show('truth:density')")
    browser.mouse("mouseMoved", *centre(browser, 20))
    assert browser.until("!document.getElementById('tip').hidden")
    assert text(browser, "tip") == "r20density (people/km²)first210second210"
    browser.open(compared, "#layer=cluster%3A4&run=second&with=first&at=30")
    assert browser.run("[page.run.name, page.other.name, page.layer.id, page.map.divided]") == [
        "second", "first", "cluster:4", 0.3,
    ]  # fmt: skip
    browser.open(compared, "#run=second")
    assert browser.run("[page.map.sides.length, page.run.name]") == [1, "second"]
    choose(browser, "other", "2")  # it has only the layers of coverage
    assert browser.run("[...document.querySelectorAll('#layer option')].every((o) => o.value.startsWith('coverage:'))")
    assert text(browser, "right") == INERT and browser.run("document.querySelectorAll('#stage img').length") == 0
    choose(browser, "run", "2")
    assert browser.run("[page.map.sides.length, page.run.name]") == [1, INERT]
    browser.open(compared, "#run=first&with=nobody&at=much")
    assert browser.run("[page.map.sides.length, page.map.divided]") == [1, 0.5]


def test_comparison_fits_a_phone_and_paper(compared: Path, browser: Browser) -> None:
    browser.resize(360, 740, phone=True, scale=2)
    browser.open(compared, "#run=first&with=second&at=70&layer=cluster%3A8")
    assert browser.run("document.documentElement.scrollWidth") == 360
    assert browser.pdf().startswith(b"%PDF")


def test_base_map_is_drawn_named_and_switched_off(make_run, browser: Browser) -> None:
    run, city = make_run()
    names = ["Centre", INERT, "Beside the centre", "Near", "Apart"]
    where = [Point(4000, 4000), Point(4000, 7000), Point(4001, 4001), Point(4300, 2000), Point(1000, 1000)]
    lake, road = box(-500, -500, 8500, -100), LineString([(0, 4500), (8000, 4500)])
    kinds = ["water", "motorway", "city", "town", "suburb", "neighbourhood", "suburb"]
    frame = base_map_frame(kinds, [None, None, *names], [lake, road, *where], "EPSG:32618")
    city.base_map = lambda: (frame, "me")
    path = write_report(context_of(run, city)).path
    browser.errors.clear()
    browser.resize(1280, 900)
    browser.dark(False)
    browser.open(path)
    browser.run(
        "(() => {const pen = CanvasRenderingContext2D.prototype, fill = pen.fillText; window.written = [];"
        "pen.fillText = function (text, ...rest) {written.push(text); fill.call(this, text, ...rest)}})()"
    )
    drawn = "(() => {written.length = 0; page.map.draw(); return written})()"
    first = browser.run(drawn)
    assert first == ["Centre", INERT, "Apart"]  # the name beside the centre would cover it, and the last is too small
    browser.run("page.map.nearer(2)")
    assert "Near" in browser.run(drawn) and "Beside the centre" not in browser.run(drawn)
    browser.run("page.map.fit()")
    below = (
        "(() => {const {map} = page; map.refresh(); map.draw();"
        "const pen = document.createElement('canvas').getContext('2d', {willReadFrequently: true});"
        "const at = [map.left + map.scale * 16000, map.top + map.scale * 33500].map((v) => Math.round(v * map.ratio));"
        "pen.drawImage(map.base, -at[0], -at[1]); return [...pen.getImageData(0, 0, 1, 1).data]})()"
    )
    assert browser.run(below)[2] > 200 and browser.run(below)[3] == 255
    beside = (  # the lake in the strip that comes into view left of the city
        "(() => {const {map} = page; map.zoom(10); map.left = -0.1 * map.width; map.top = -1e9; map.moved();"
        "map.refresh(); map.draw(); map.pan(0.35 * map.width, 0); map.draw();"
        "const pen = document.createElement('canvas').getContext('2d', {willReadFrequently: true});"
        "pen.drawImage(map.base, -Math.round(0.05 * map.base.width), -Math.round(0.75 * map.base.height));"
        "const colour = [...pen.getImageData(0, 0, 1, 1).data]; map.fit(); return colour})()"
    )
    assert browser.run(beside)[2] > 200
    browser.run("document.getElementById('ground').click()")
    assert browser.run(below)[3] == 0 and browser.run(drawn) == [] and "base=off" in browser.run("location.hash")
    browser.open(path, "#base=off")
    assert browser.run("document.getElementById('ground').checked") is False and browser.errors == []


def test_page_without_a_map_opens_without_errors(make_run, browser: Browser) -> None:
    run, _ = make_run()
    (run.path / "embeddings.parquet").unlink()
    write_json(run.path / "manifest.json", read_json(run.path / "manifest.json") | {"status": "failed"})
    path = write_report(RunContext(run, None, None, [], ["There are no regions to draw."])).path
    browser.errors.clear()
    browser.open(path)
    assert browser.errors == [] and browser.run("document.querySelector('.notice li').textContent")
