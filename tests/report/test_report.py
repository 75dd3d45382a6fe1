from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from urbankit.evaluation.tasks import make_task
from urbankit.report import draw_all
from urbankit.report.embedding_map import two_dimensions
from urbankit.report.maps import out_of_sample, round_length
from urbankit.report.style import ABSENT, Scale, new_figure


def test_every_figure_is_drawn_as_png_and_pdf(make_run) -> None:
    run, city = make_run()
    figures = draw_all(run, city)
    assert [drawing.png.name for drawing in figures.drawn] == [
        "losses-pretrain.png", "losses-finetune.png", "map-density.png", "map-use.png", "embeddings-tsne.png",
    ]  # fmt: skip
    for drawing in figures.drawn:
        assert drawing.png.read_bytes().startswith(b"\x89PNG")
        assert drawing.png.with_suffix(".pdf").read_bytes().startswith(b"%PDF")
    assert figures.left_out == []


def test_a_city_of_four_regions_and_no_tasks_has_few_figures(make_run) -> None:
    run, city = make_run(side=2, tasks=())
    figures = draw_all(run, city)
    assert [drawing.png.stem for drawing in figures.drawn] == ["embeddings-tsne"]
    assert figures.left_out == ["No loss curves: nothing was trained.", "No maps of targets: the recipe has no tasks."]


def test_a_city_of_one_region_has_no_t_sne(make_run) -> None:
    run, city = make_run(side=1, tasks=())
    figures = draw_all(run, city)
    assert figures.drawn == [] and "No t-SNE: it needs four regions or more, the city has 1." in figures.left_out


def test_a_map_shows_the_median_or_commonest_prediction_of_the_test_parts(make_run) -> None:
    run, _ = make_run()
    row = run.predictions.iloc[:1]
    regression, classification = (
        make_task("t", kind, np.array(values)) if kind == "regression" else make_task("t", kind, values)
        for kind, values in (("regression", np.arange(20.0)), ("classification", np.array(list("ab") * 10, object)))
    )
    seen = [("r1", 5.0, "test"), ("r1", 1.0, "test"), ("r1", 2.0, "test"), ("r1", 99.0, "train"), ("r2", 7.0, "test")]
    table = pd.concat([row.assign(region_id=r, prediction=p, fold=f) for r, p, f in seen])
    ids = np.array(["r1", "r2", "r3"])
    np.testing.assert_array_equal(out_of_sample(table, ids, regression), [2.0, 7.0, np.nan])
    votes = pd.concat([row.assign(region_id="r1", prediction=p, fold="test") for p in (1.0, 0.0, 1.0)])
    np.testing.assert_array_equal(out_of_sample(votes, ids[:1], classification), [1.0])


@pytest.mark.parametrize(("length", "expected"), [(7300, 5000), (1000, 1000), (999, 500), (2.4, 2), (45_000, 20_000)])
def test_round_lengths_of_a_scale_bar(length: float, expected: float) -> None:
    assert round_length(length) == expected


def test_colours_of_values_classes_and_gaps() -> None:
    from matplotlib.colors import to_rgba

    values = np.r_[np.arange(100.0), np.nan]
    scale = Scale(make_task("t", "regression", values))
    colours = scale.colours(values)
    assert len(np.unique(colours[:100], axis=0)) > 50 and tuple(colours[100]) == to_rgba(ABSENT)
    classes = Scale(make_task("c", "classification", np.array(["a"] * 10 + ["b"] * 10, object)))
    assert len(np.unique(classes.colours(np.array([0.0, 1.0])), axis=0)) == 2
    constant = Scale(make_task("t", "regression", np.full(20, 3.0)))
    constant.explain(figure := new_figure(3, 3), [figure.subplots()])


def test_two_dimensions_of_few_or_equal_embeddings() -> None:
    points, perplexity = two_dimensions(np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32))
    assert points.shape == (4, 2) and perplexity == 1
    points, _ = two_dimensions(np.ones((10, 3), np.float32))
    assert np.isfinite(points).all()
