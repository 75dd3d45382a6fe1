"""One run over several cities: embeddings, validation on cities, labels of other cities, a model for a new one."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.many_cities import keys, write_cities
from numpy.testing import assert_array_equal

import urbankit
from urbankit.export import export
from urbankit.pipeline.run import run
from urbankit.recipe.recipe import Recipe
from urbankit.runs.data import held_out_regions, load_tasks, method_inputs, prepare_city
from urbankit.runs.folder import Run
from urbankit.training.supervised import SupervisedMethod, within_cities
from urbankit.utils.errors import UserError
from urbankit.utils.progress import Progress

SUPERVISED = {"tasks": ["density", "use"], "weight": 2.0}


@pytest.fixture(scope="module")
def cities(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_cities(tmp_path_factory.mktemp("many"), ("first", "second", "third", "fourth"))


@pytest.fixture(scope="module")
def finished(cities: Path, tmp_path_factory: pytest.TempPathFactory, session_cache: None) -> Run:
    """A run on three cities, one of which is held out; the fourth is new to it."""
    out = tmp_path_factory.mktemp("runs") / "run"
    return run(recipe(cities, "fourth"), out, progress=Progress(quiet=True))


def recipe(cities: Path, *exclude: str, **pretrain) -> Recipe:
    settings = keys(cities)
    settings["cities"]["exclude"] = list(exclude)
    settings["pretrain"] |= {"hold_out": ["third"], "supervised": SUPERVISED} | pretrain
    return Recipe.load(settings)


def test_regions_of_all_cities_are_embedded(finished):
    assert finished.embeddings["region_id"].iloc[[0, 25, 50]].tolist() == ["first/r00", "second/r00", "third/r00"]
    assert np.isfinite(finished.vectors).all() and len(finished.vectors) == 75
    assert finished.manifest["city"] == "first, second, third"
    assert "supervised density" in set(finished.history["name"])


def test_tasks_that_pretraining_learns_from_are_not_scored(finished):
    assert not finished.metrics["task"].isin(SUPERVISED["tasks"]).any()
    assert any("they are not scored on these cities" in note for note in finished.manifest["notes"])
    assert (finished.path / "report.html").is_file()


def test_only_held_out_cities_calibrate_a_supervised_head(finished):
    heads = urbankit.Model.open(finished.path).heads
    assert len(heads["density"].residuals) == 25  # the regions of the third city


def test_an_interrupted_run_resumes_to_the_same_embeddings(finished, cities, tmp_path, monkeypatch):
    loss, calls = SupervisedMethod.loss, []

    def stopping(self, regions):
        calls.append(1)
        if len(calls) > 7:
            raise KeyboardInterrupt
        return loss(self, regions)

    clock = itertools.count(0, 60)  # every epoch takes a minute, so that each is saved
    monkeypatch.setattr("urbankit.training.loop.time.monotonic", lambda: next(clock))
    monkeypatch.setattr(SupervisedMethod, "loss", stopping)
    with pytest.raises(KeyboardInterrupt):
        run(recipe(cities, "fourth"), tmp_path / "run", progress=Progress(quiet=True))
    monkeypatch.setattr(SupervisedMethod, "loss", loss)
    resumed = run(recipe(cities, "fourth"), tmp_path / "run", resume=True, progress=Progress(quiet=True))
    assert_array_equal(resumed.vectors, finished.vectors)


def test_a_model_of_several_cities_predicts_in_a_new_one(finished, cities, tmp_path):
    folder = export(finished, "model", out=tmp_path / "model")[0].path
    new = prepare_city(recipe(cities, "first", "second", "third", hold_out=[], supervised=None))
    model, [(_, member)] = urbankit.Model.open(folder), new.members.items()
    table = model.predict(member)
    assert len(table) == 25 and table["density"].notna().all() and set(table["use"]) <= {"busy", "calm"}
    levels = [city.target("density").values.mean() for city in prepare_city(recipe(cities, "fourth")).members.values()]
    assert min(levels) < table["density"].mean() < max(levels)


def test_views_have_no_edge_between_cities(cities):
    settings = recipe(cities, "fourth")
    city = prepare_city(settings)
    inputs, _ = method_inputs(settings, city)
    for name, graph in inputs.views.items():
        edges = graph.adjacency.tocoo()
        assert_array_equal(city.member[edges.row], city.member[edges.col], name)
        alone = method_inputs(settings, city.members["second"])[0].views[name].adjacency
        assert_array_equal(graph.adjacency[25:50, 25:50].toarray(), alone.toarray())


def test_features_are_standardised_within_each_city(cities):
    settings = recipe(cities, "fourth")
    city = prepare_city(settings)
    inputs, _ = method_inputs(settings, city)
    together = inputs.encoder("poi_counts", 4)
    alone = method_inputs(settings, city.members["first"])[0].encoder("poi_counts", 4)
    rows = np.arange(25)
    torch.testing.assert_close(together.load(rows), alone.load(rows))
    for start in (0, 25, 50):
        np.testing.assert_allclose(together.load(rows + start).mean(0), 0, atol=1e-6)


def test_labels_are_standardised_within_each_city(cities):
    city = prepare_city(recipe(cities, "fourth"))
    values = within_cities(load_tasks(recipe(cities, "fourth"), city)["density"], city.member)[:, 0]
    for index, member in enumerate(city.members.values()):
        expected = member.target("density").values
        expected = (expected - expected.mean()) / expected.std()
        np.testing.assert_allclose(values[city.member == index], expected, rtol=1e-4, atol=1e-5)


def test_held_out_regions_are_those_of_the_cities(cities):
    city = prepare_city(recipe(cities, "fourth"))
    assert_array_equal(held_out_regions(["third"], city), np.arange(50, 75))
    with pytest.raises(UserError, match=r"no city 'thrid' among the cities\. Did you mean 'third'\?"):
        held_out_regions(["thrid"], city)
    with pytest.raises(UserError, match="holds out every city"):
        held_out_regions(["first", "second", "third"], city)


def test_labels_and_held_out_cities_need_several_cities(cities):
    settings = keys(cities)
    settings["city"] = {"demo": {"regions": 25}}
    del settings["cities"]
    settings["pretrain"] |= {"hold_out": ["third"], "supervised": SUPERVISED}
    with pytest.raises(UserError) as error:
        Recipe.load(settings)
    assert [problem.key for problem in error.value.problems] == ["pretrain.hold_out", "pretrain.supervised"]


def test_a_supervised_task_that_the_recipe_lacks_is_refused(cities):
    with pytest.raises(UserError, match=r"pretrain\.supervised\.tasks\[0\]: the recipe has no task 'densty'"):
        recipe(cities, supervised={"tasks": ["densty"]})
