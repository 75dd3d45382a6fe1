"""A plugin's exporter and figure, each defined in a test, registered, and used as a user would."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from types import SimpleNamespace

import pytest
from helpers.figure_runs import make_city, run_context

from urbankit import UserError, hookimpl, registry, testing
from urbankit.export.base import Exporter
from urbankit.export.export import export
from urbankit.report.figures import draw_all
from urbankit.report.figures.base import Figure
from urbankit.report.figures.errors import NotPossible


@pytest.fixture
def plugin(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str, type], None]]:
    """`plugin(kind, Class)` registers a class of this process as `mine`."""

    def add(kind: str, component: type) -> None:
        monkeypatch.setitem(sys.modules, "mine_plugin", SimpleNamespace(Mine=component))
        hook = hookimpl(lambda register: register("mine", "mine_plugin:Mine", "of a test"))
        registry.add_plugin(SimpleNamespace(**{registry.KINDS[kind].hook: hook}), "mine")

    yield add
    registry.reload()


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


def test_a_figure_that_does_not_load_leaves_the_others_alone(plugin, tmp_path):
    plugin("figure", Unfinished)
    figures = draw_all(run_context(tmp_path / "run", make_city(9), {}))
    assert "lacks what every figure has: draw" in figures.left_out[0]
