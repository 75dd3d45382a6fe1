import importlib
import re
import time
import warnings
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
from helpers.report_runs import AWKWARD, make_city, run_context, write_run
from matplotlib.colors import to_rgba
from PIL import Image
from shapely.geometry import box

from urbankit.evaluation.tasks import make_task
from urbankit.recipe.schema import Report
from urbankit.report import check
from urbankit.report.check import check_report
from urbankit.report.figures import Figures, coverage, draw_all
from urbankit.report.figures.cases import _values
from urbankit.report.figures.classes import confusion
from urbankit.report.figures.clusters import node_clusters
from urbankit.report.figures.context import FigureContext
from urbankit.report.figures.errors import NotPossible
from urbankit.report.figures.lookalikes import find_cases
from urbankit.report.figures.mosaic import from_above
from urbankit.report.figures.projection import project
from urbankit.report.maps import RegionMap, round_length
from urbankit.report.scale import Scale
from urbankit.report.style import ABSENT, DOUBLE, Drawing, compact, new_figure, save, shorten, style
from urbankit.runs.context import RunContext
from urbankit.runs.folder import Run
from urbankit.utils.errors import UserError
from urbankit.utils.files import write_json

BOTH = {"density": "log", "use": "standard"}


def names(figures: Figures) -> list[str]:
    return [drawing.png.stem for drawing in figures.drawn]


def draw(one: RunContext, *kinds: str) -> dict[str, str]:
    """Captions by name of some kinds of figures alone."""
    context = FigureContext(one)
    with style():
        drawn = [
            drawing
            for kind in kinds
            for drawing in importlib.import_module(f"urbankit.report.figures.{kind}").draw(context)
            if isinstance(drawing, Drawing)
        ]
    return {drawing.png.stem: drawing.caption for drawing in drawn}


def test_every_figure_is_drawn_as_png_and_pdf_at_most_two_columns_wide(tmp_path: Path) -> None:
    figures = draw_all(run_context(tmp_path, make_city(64), BOTH))
    assert names(figures) == [
        "map-density", "predictions", "residuals-density", "classes-use", "embeddings", "views", "clusters", "cases",
        "walks", "coverage", "losses-pretrain", "losses-finetune",
    ]  # fmt: skip
    assert figures.left_out == []
    for drawing in figures.drawn:
        width = float(re.search(rb"/MediaBox \[ 0 0 ([\d.]+)", drawing.png.with_suffix(".pdf").read_bytes())[1])
        assert Image.open(drawing.png).width <= 200 * DOUBLE + 1 and width <= 72 * DOUBLE + 0.1
        assert drawing.caption.endswith(".") and "\n" not in drawing.caption
    assert Figures.load(tmp_path / "figures") == figures


def test_constant_targets_and_runs_with_only_classes_are_drawn(tmp_path: Path) -> None:
    one = run_context(tmp_path, make_city(30), {"constant": "standard"})
    drawn = draw(one, "targets", "scatter", "residuals")
    with pytest.raises(NotPossible, match="no two regions"):
        draw(one, "cases")
    assert list(drawn) == ["map-constant", "predictions", "residuals-constant"]
    one = run_context(tmp_path, make_city(30), {"use": "standard"})
    assert list(draw(one, "targets", "classes", "cases", "embeddings")) == ["classes-use", "cases", "embeddings"]
    with pytest.raises(NotPossible, match="no regression task"):
        draw(one, "residuals")


@pytest.mark.parametrize("n", [1, 3])
def test_city_of_few_regions_gets_the_possible_figures(tmp_path: Path, n: int) -> None:
    figures = draw_all(run_context(tmp_path, make_city(n), {}))
    assert "coverage" in names(figures)
    assert not any("failed" in line for line in figures.left_out)
    assert "No maps of targets: the recipe has no tasks." in figures.left_out
    needs = f"No embeddings in two dimensions: a projection needs four regions or more, the city has {n}."
    assert needs in figures.left_out


def test_regions_without_an_area_are_dots(tmp_path: Path) -> None:
    drawn = draw(run_context(tmp_path, make_city(40, points=True), BOTH), "targets", "residuals", "clusters")
    assert list(drawn) == ["map-density", "residuals-density", "clusters"]


def test_unusual_names_and_eleven_classes_are_drawn_without_many_warnings(tmp_path: Path) -> None:
    classes = [*AWKWARD, *"abcd"]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        drawn = draw(run_context(tmp_path, make_city(110, classes), BOTH), "classes", "embeddings", "cases")
    assert list(drawn) == ["classes-use", "embeddings", "cases"]
    assert not [str(one.message) for one in caught if "Glyph" in str(one.message)]


def test_characters_without_a_glyph_are_noted_in_the_caption(tmp_path: Path) -> None:
    with style():
        figure = new_figure(2, 1)
        figure.subplots().set_title("\U000f0000")
        assert "Boxes stand for characters" in save(figure, tmp_path, "x", "A title.").caption


def test_figures_without_the_city_use_the_files_of_the_run(tmp_path: Path) -> None:
    context = run_context(tmp_path, make_city(30), BOTH)
    context.city, context.tasks = None, []
    figures = draw_all(context)
    assert names(figures) == ["embeddings", "clusters", "walks", "losses-pretrain", "losses-finetune"]
    assert "No maps of coverage: the run's city is not available any more." in figures.left_out


def test_failing_figure_does_not_stop_others_and_old_figures_are_removed(tmp_path: Path, monkeypatch) -> None:
    def fail(context: FigureContext) -> None:
        raise ZeroDivisionError("by zero")

    monkeypatch.setattr(coverage, "draw", fail)
    folder = tmp_path / "figures"
    folder.mkdir()
    for path in (tmp_path / "outside.png", folder / "coverage.png", folder / "own.png"):
        path.write_bytes(b"of another drawing")
    Figures([Drawing(folder / "coverage.png", "")], []).save(folder)
    listed = (folder / "captions.json").read_text().replace("coverage", "../outside")
    (folder / "captions.json").write_text(
        listed.replace('"drawn": [', '"drawn": [{"file": "coverage.png", "caption": ""},')
    )
    assert [drawing.png.parent for drawing in Figures.load(folder).drawn] == [folder, folder]
    figures = draw_all(run_context(tmp_path, make_city(3), {}))
    assert "No maps of coverage: drawing failed (ZeroDivisionError: by zero)." in figures.left_out
    assert "clusters" in names(figures) and not (folder / "coverage.png").exists()
    assert (folder / "own.png").exists() and (tmp_path / "outside.png").exists()


def test_ten_thousand_regions_are_sampled_and_their_maps_small(tmp_path: Path) -> None:
    began = time.process_time()
    context = FigureContext(run_context(tmp_path, make_city(10_000), {"density": "log"}))
    drawn = draw(context.run_context, "targets", "clusters")
    assert time.process_time() - began < 120
    assert all((context.folder / f"{name}.pdf").stat().st_size < 5e6 for name in drawn)
    flat = project(np.random.default_rng(0).normal(size=(10_000, 3)).astype(np.float32), keep=[9_999], most=50)
    assert len(flat.rows) == 50 and flat.rows[-1] == 9_999 and "50 of 10,000" in flat.sampled
    np.testing.assert_array_equal(flat.points_of([9_999])[0], flat.points[-1])


def test_figures_of_a_real_city_show_its_images(tiny_city, tmp_path: Path) -> None:
    names_ = [name for name in tiny_city.target_names if tiny_city.target(name).kind == "regression"]
    one = run_context(tmp_path, tiny_city, dict.fromkeys(names_, "standard"))
    drawn = draw(one, "clusters", "cases", "coverage")
    assert (
        "(b) the satellite images" in drawn["clusters"] and "satellite images" in drawn["cases"] and "coverage" in drawn
    )
    picture = from_above(tiny_city, RegionMap(tiny_city.regions))
    assert picture.shape[2] == 4 and 0 < picture[..., 3].mean() < 1  # the island has no image
    assert picture.min() >= 0 and picture.max() <= 1


def test_recipe_sets_cases_and_anchors(tmp_path: Path) -> None:
    settings = {"anchors": ["r3", "r1", "r2"], "cases": ["r5", "r6"]}
    one = run_context(tmp_path, make_city(40), BOTH, report=settings)
    captions = draw(one, "views", "cases")
    assert (
        "A r3, B r1, C r2; from the recipe" in captions["views"] and "A r5, B r6 (from the recipe)" in captions["cases"]
    )


def test_cases_show_other_runs(tmp_path: Path) -> None:
    city = make_city(40)
    one = run_context(tmp_path / "whole", city, BOTH)
    write_run(tmp_path / "no-text", city, BOTH)
    stranger = write_run(tmp_path / "elsewhere", city, BOTH)[0]
    write_json(stranger.path / "manifest.json", {"status": "done", "city_hash": "of another city"})
    others = [Run.open(tmp_path / "no-text"), Run.open(stranger.path)]
    figures = draw_all(one, others)
    assert "cases" in names(figures)
    assert figures.left_out == ["No case study: beside elsewhere, which is of another city or has no predictions."]
    context = FigureContext(one, others)
    values = _values(context, context.tasks[0], [3, 4])
    assert list(values) == ["truth", "prediction", "best floor", "no-text"]


def test_figures_accept_predictions_that_are_not_finite(tmp_path: Path) -> None:
    one = run_context(tmp_path, make_city(40), {"density": "log"})
    table = pd.read_parquet(tmp_path / "predictions.parquet")
    table.loc[table["split"] == "spatial", "prediction"] = np.nan
    table.to_parquet(tmp_path / "predictions.parquet")
    assert "predictions" in draw(one, "scatter", "targets", "residuals")


def test_selected_cases_look_similar_and_differ(tmp_path: Path) -> None:
    context = FigureContext(run_context(tmp_path, make_city(100), {"density": "standard"}, blocks=False))
    rows, differing, how = find_cases(context, context.tasks)
    assert len(set(rows)) == 4 and how == "their embeddings are similar" and differing == ["density"] * 2
    y = context.tasks[0].y
    assert y[rows[0]] < y[rows[1]] and y[rows[2]] < y[rows[3]]
    assert find_cases(context, context.tasks)[0] == rows
    assert np.isfinite(context.out_of_sample(context.tasks[0], "spatial")[rows]).all()


def test_mistakes_in_report_settings_are_reported_together_before_any_computation(monkeypatch) -> None:
    monkeypatch.setattr(check, "find_spec", lambda name: None)
    report = Report(anchors=["r1", "r1", "nowhere"], cases=["r99"], projection="umap")
    with pytest.raises(UserError) as caught:
        check_report(report, make_city(9))
    text = str(caught.value)
    for part in ("report.anchors[1]", "twice", "no region 'nowhere'", "report.cases[0]", "pip install urbankit[umap]"):
        assert part in text
    check_report(Report(anchors=["r1", "r2", "r3"]), make_city(9))


def test_umap_is_drawn_or_reported_as_missing() -> None:
    vectors = np.random.default_rng(0).normal(size=(40, 5)).astype(np.float32)
    try:
        import umap  # noqa: F401
    except ImportError:
        with pytest.raises(NotPossible, match=r"pip install urbankit\[umap\]"):
            project(vectors, "umap")
    else:
        flat = project(vectors, "umap")
        assert flat.axis == "UMAP" and np.isfinite(flat.points).all()


def test_projection_accepts_few_or_equal_embeddings() -> None:
    flat = project(np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32))
    assert flat.points.shape == (4, 2) and "perplexity 1" in flat.how
    assert np.isfinite(project(np.ones((10, 3), np.float32)).points).all()


def test_a_confusion_matrix_counts_truth_by_row_and_branches_have_the_colour_of_their_cluster() -> None:
    truth, prediction = np.array([0, 0, 1, 2]), np.array([0, 1, 1, 0])
    np.testing.assert_array_equal(confusion(truth, prediction, 3), [[1, 1, 0], [0, 1, 0], [1, 0, 0]])
    linkage = np.array([[0, 1, 1, 2], [2, 3, 1, 2], [4, 5, 2, 4]], float)
    np.testing.assert_array_equal(node_clusters(linkage, np.array([0, 0, 1, 1])), [0, 0, 1, 1, 0, 1, -1])


def test_holes_of_regions_stay_open(tmp_path: Path) -> None:
    ring = box(0, 0, 10, 10).difference(box(3, 3, 7, 7))
    paths = RegionMap(gpd.GeoDataFrame(geometry=[ring, box(3, 3, 7, 7)], crs="EPSG:32618")).paths
    orientation = [np.sign(polygon[:, 0] @ np.roll(polygon[:, 1], -1) - polygon[:, 1] @ np.roll(polygon[:, 0], -1))
                   for polygon in (paths[0].vertices[:4], paths[0].vertices[5:9])]  # fmt: skip
    assert len(paths) == 2 and orientation[0] == -orientation[1]


@pytest.mark.parametrize(("length", "expected"), [(7300, 5000), (1000, 1000), (999, 500), (2.4, 2), (45_000, 20_000)])
def test_scale_bars_have_round_lengths(length: float, expected: float) -> None:
    assert round_length(length) == expected


def test_scale_colours_values_classes_and_gaps() -> None:
    values = np.r_[np.arange(100.0), np.nan]
    colours = Scale(make_task("t", "regression", values)).colours(values)
    assert len(np.unique(colours[:100], axis=0)) > 50 and tuple(colours[100]) == to_rgba(ABSENT)
    classes = Scale(make_task("c", "classification", np.array(["a"] * 10 + ["b"] * 10, object)))
    assert len(np.unique(classes.colours(np.array([0.0, 1.0])), axis=0)) == 2
    constant = Scale(make_task("t", "regression", np.full(20, 3.0)))
    constant.explain(figure := new_figure(3, 3), [figure.subplots()])


def test_names_and_numbers_are_shortened() -> None:
    assert shorten("a\nb\t c\x00") == "a b c" and len(shorten("x" * 90)) == 28
    numbers = (0, 0.12345, 999.99, 1234.5, 12_345, 2.5e6, -0.5)
    assert [compact(value) for value in numbers] == ["0", "0.123", "1,000", "1,234", "12.3k", "2.5M", "−0.5"]
