"""Runs with few labels and with the untrained control."""

import numpy as np
import pandas as pd
import pytest

from urbankit.pipeline.run import run
from urbankit.recipe.recipe import Recipe
from urbankit.runs.folder import Run
from urbankit.utils.errors import UserError
from urbankit.utils.progress import Progress


@pytest.fixture(scope="module")
def few_run(cheap_recipe, tmp_path_factory) -> Run:
    recipe = cheap_recipe | {
        "name": "few",
        "tasks": {"co": {"head": {"name": "gp"}}, "land_use": {"head": {"name": "forest", "trees": 5}}},
        "evaluation": {
            "splits": ["random", "few"],
            "seeds": [0],
            "min_class_size": 1,
            "floors": ["mean", "raw-ridge"],
            "few": {"labels": [5, 10], "draws": 3},
        },
        "predict": {"folds": 0},
    }
    return run(Recipe.load(recipe), tmp_path_factory.mktemp("few") / "run", progress=Progress(quiet=True))


def test_run_writes_learning_curves_of_the_method_beside_floors(few_run):
    curves = few_run.learning_curves
    assert list(curves) == ["task", "model", "split", "labels", "draw", "seed", "metric", "value"]
    main = curves[curves["metric"].isin(["r2", "macro_f1"])]
    models = ["urbanmmcl", "floor:mean", "floor:raw-ridge", "floor:untrained"]
    keys = [(t, m, k, d) for t in ("co", "land_use") for m in models for k in (5, 10) for d in range(3)]
    assert sorted(zip(main["task"], main["model"], main["labels"], main["draw"], strict=True)) == sorted(keys)


def test_areas_are_columns_of_the_results_table(few_run):
    areas = few_run.metrics[few_run.metrics["metric"] == "r2_area"]
    assert set(areas["split"]) == {"few"} and sorted(set(areas["seed"])) == [0, 1, 2]
    curves = few_run.learning_curves
    curves = curves[(curves["metric"] == "r2") & (curves["model"] == "urbanmmcl")]
    expected = curves.groupby("draw")["value"].mean()  # of two sizes, the trapezoidal rule is the mean
    np.testing.assert_allclose(areas[areas["model"] == "urbanmmcl"]["value"], expected)
    shown = few_run.table().markdown()
    assert "R² area" in shown and "macro-F1 area" in shown and "floor: untrained" in shown
    assert "mean of 3 draws" in (few_run.path / "README.md").read_text()
    assert "against itself untrained" in str(few_run.table()) and "of 3 draws" in str(few_run.table())


def test_untrained_control_is_the_method_before_its_training(few_run, tmp_path):
    recipe = Recipe.from_yaml(few_run.recipe_text)
    untrained = recipe.model_copy(update={"pretrain": recipe.pretrain.model_copy(update={"epochs": 0})})
    other = run(untrained, tmp_path / "run", progress=Progress(quiet=True))
    assert "floor:untrained" not in set(other.metrics["model"])
    one, two = (
        metrics[metrics["model"] == model].drop(columns="model").reset_index(drop=True)
        for metrics, model in ((few_run.metrics, "floor:untrained"), (other.metrics, "urbanmmcl"))
    )
    common = ["task", "split", "seed", "metric"]
    both = one.merge(two, on=common, suffixes=("", "_other"))
    assert len(both) == len(one)
    of_gp = both["task"] == "co"  # the forest draws other trees
    np.testing.assert_allclose(both[of_gp]["value"], both[of_gp]["value_other"], atol=1e-5)
    assert "floor:untrained" in set(pd.read_parquet(few_run.path / "floor_predictions.parquet")["model"])


def test_figure_has_a_panel_for_each_task(few_run):
    from urbankit.report.figures import draw_all
    from urbankit.runs.context import RunContext

    drawn = {drawing.png.stem: drawing.caption for drawing in draw_all(RunContext.of(few_run, None)).drawn}
    assert "over 3 draws of 5 to 10 training regions" in drawn["learning-curves-few"]


def test_more_labels_than_regions_are_refused_before_anything_is_trained(cheap_recipe, tmp_path):
    keys = cheap_recipe | {
        "name": "few",
        "evaluation": {"splits": ["few-spatial"], "min_class_size": 1, "few": {"labels": [5, 5000]}},
    }
    with pytest.raises(UserError) as raised:
        run(Recipe.load(keys), tmp_path / "run", progress=Progress(quiet=True))
    assert [problem.key for problem in raised.value.problems] == ["tasks.co", "tasks.land_use"]
    assert not (tmp_path / "run" / "checkpoints").exists()
