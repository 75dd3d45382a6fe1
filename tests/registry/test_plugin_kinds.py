"""A plugin's split, exporter, figure and recipes, each defined in a test, registered, and used as a user would."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from helpers.report_runs import make_city, run_context

from urbankit import Recipe, UserError, hookimpl, registry, testing
from urbankit.evaluation.splits import Split, SplitProtocol, strictest
from urbankit.export.base import Exporter
from urbankit.export.export import export
from urbankit.registry.recipes import find
from urbankit.report.figures import draw_all
from urbankit.report.figures.base import Figure
from urbankit.report.figures.errors import NotPossible
from urbankit.runs.data import make_splits


class Ids(Exporter):
    """The ids of the regions, as JSON."""

    files = ("{what}-ids.json",)

    def write(self, table, paths):
        paths[0].write_text(json.dumps(table.region_ids))
        return ["only the ids"]


def test_an_exporter_of_a_plugin_writes_its_format(plugin, tmp_path):
    plugin("exporter", Ids)
    testing.check_component("exporter", "mine")
    run = run_context(tmp_path / "run", make_city(9), {}).run
    [(path, notes)] = export(run, "mine", what="embeddings")
    assert json.loads(path.read_text())[:2] == ["r0", "r1"] and notes == ("only the ids",)
    with pytest.raises(UserError, match=r"'min' is not a format\. Did you mean 'mine'\?"):
        export(run, "min")


class NamesAlone(Figure):
    title = "names"
    order = 5

    def draw(self, context):
        yield NotPossible(f"{len(context.region_ids)} names are too many")


def test_a_figure_of_a_plugin_is_drawn_with_the_others(plugin, tmp_path):
    plugin("figure", NamesAlone)
    figures = draw_all(run_context(tmp_path / "run", make_city(9), {}))
    assert figures.left_out[0] == "No names: 9 names are too many."


class Unfinished(Figure):
    title = "nothing"


def test_figure_that_does_not_load_does_not_affect_the_others(plugin, tmp_path):
    plugin("figure", Unfinished)
    figures = draw_all(run_context(tmp_path / "run", make_city(9), {}))
    assert "lacks what every figure has: draw" in figures.left_out[0]


class EastWest(SplitProtocol):
    """The west of the city for training, the middle for validation, the east for testing."""

    strictness = 2

    def split(self, xy, seed, fractions, blocks):
        order = np.argsort(xy[:, 0], kind="stable")
        train, validation = (np.cumsum(fractions)[:2] * len(xy)).astype(int)
        return Split(*(np.sort(part) for part in np.split(order, [train, validation])))


def test_split_of_a_plugin_can_be_used_in_a_recipe(plugin):
    plugin("split", EastWest)
    testing.check_component("split", "mine")
    recipe = Recipe.load("urbanmmcl", ["evaluation.splits=[random, mine]", "evaluation.seeds=[4]"])
    city = testing.tiny_city()
    splits = make_splits(recipe, city)
    assert list(splits) == [("random", 4), ("mine", 4)]
    split = splits["mine", 4]
    assert city.xy[split.train, 0].max() <= city.xy[split.test, 0].min()
    assert strictest(["spatial", "mine", "random"]) == "mine"


def test_an_unknown_split_is_refused_with_the_closest_name():
    closest = r"Did you mean 'spatial' or 'few-spatial'\?"
    with pytest.raises(UserError, match=rf"evaluation.splits.* unknown split 'spatal'\. {closest}"):
        Recipe.load("urbanmmcl", ["evaluation.splits=[spatal]"])


@pytest.fixture
def recipes(tmp_path: Path) -> Iterator[Callable[[str, str], Path]]:
    """`recipes(plugin, name)` registers a plugin that ships a recipe of that name, and returns the file."""

    def add(plugin: str, name: str) -> Path:
        folder = tmp_path / plugin
        folder.mkdir()
        file = folder / f"{name}.yaml"
        file.write_text("extends: urbanmmcl\ndescription: of a plugin\n")
        hook = hookimpl(lambda register: register(folder))
        registry.add_plugin(SimpleNamespace(register_recipes=hook), plugin)
        return file

    yield add
    registry.reload()


def test_a_recipe_of_a_plugin_is_found_by_its_name(recipes):
    file = recipes("metro", "subway")
    assert find("subway") == find("subway.yaml") == file
    assert Recipe.load("subway").method.name == Recipe.load("urbanmmcl").method.name
    with pytest.raises(UserError, match=r"Did you mean 'subway'\?.* Recipes of plugins: subway \(this process\)"):
        find("subwy")


def test_two_recipes_with_one_name_are_refused_with_both_files(recipes):
    files = recipes("one", "twin"), recipes("two", "twin")
    with pytest.raises(UserError, match="'twin' is shipped twice") as caught:
        find("twin")
    assert all(str(file) in str(caught.value) for file in files)


def test_missing_recipe_folder_fails_only_its_plugin(tmp_path):
    hook = hookimpl(lambda register: register(tmp_path / "absent"))
    registry.add_plugin(SimpleNamespace(register_recipes=hook), "broken")
    [failed] = registry.failed_plugins()
    assert "there is no folder of recipes" in failed.failure
    registry.reload()
