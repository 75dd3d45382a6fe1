"""Plugins: what an author writes, and what happens when one is broken. The first test is a whole plugin to copy."""

import sys
import types
from pathlib import Path

import pytest

from urbankit import UserError, registry

METRO = """
    from pydantic import Field

    import urbankit
    from urbankit import hookimpl


    @hookimpl
    def register_views(register):
        register("metro", "urbankit_metro:MetroView", "travel time by metro")


    @hookimpl
    def register_modality_encoders(register):
        register("noise", "urbankit_metro:Noise", "noise levels of a region")


    class MetroView(urbankit.Component):
        class Params(urbankit.Params):
            minutes: float = Field(30.0, gt=0, description="Longest ride that joins two regions.")

        def build(self, city): ...


    class Noise(urbankit.Component):
        def observations(self, of=None): ...
        def load(self, rows, of=None): ...
        def forward(self, batch): ...
        def project(self, x): ...
"""


def test_an_installed_package_adds_a_view_and_a_modality(install) -> None:
    install("urbankit-metro", "urbankit_metro", METRO, version="2.3")

    (entry,) = [entry for entry in registry.entries("view") if entry.name == "metro"]
    assert entry.origin == "urbankit-metro 2.3"
    assert entry.description == "travel time by metro"
    assert registry.get("view", "metro").Params().minutes == 30.0
    assert registry.get("modality_encoder", "noise").__name__ == "Noise"
    assert registry.failed_plugins() == []


def test_an_installed_package_is_used_by_a_recipe(install, recipe_file) -> None:
    from helpers.toys import Plugin

    from urbankit import Recipe

    path = recipe_file()
    install("urbankit-metro", "urbankit_metro", METRO)
    registry.add_plugin(Plugin, "toys")
    recipe = Recipe.load(path, ["views.metro={name: metro, minutes: 15}", "modalities.quiet={name: noise}"])
    assert recipe.views["metro"].params == {"minutes": 15.0}
    assert recipe.modalities["quiet"].name == "noise"


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("raise RuntimeError('no licence\\nfound')", "RuntimeError: no licence found"),
        ("import nothing_of_this_name", "ModuleNotFoundError: No module named 'nothing_of_this_name'"),
        ("raise SystemExit(3)", "SystemExit: 3"),
        ("def (", "SyntaxError"),
        (
            "from urbankit import hookimpl\n@hookimpl\ndef register_views(register):\n"
            "    register('half', 'a:B')\n    raise KeyError('later')",
            "KeyError: 'later'",
        ),
        (
            "from urbankit import hookimpl\n@hookimpl\ndef register_views(register):\n    register('half', 'nowhere')",
            "target 'nowhere' is not of the form 'module:Class'",
        ),
        (
            "from urbankit import hookimpl\n@hookimpl\ndef register_veiws(register): ...",
            "unknown hook 'register_veiws'",
        ),
    ],
)
def test_plugin_that_raises_is_listed_as_failed(install, code: str, reason: str) -> None:
    install("broken-plugin", "broken_plugin", "")
    Path(sys.path[0], "broken_plugin.py").write_text(code)
    registry.reload()

    (failed,) = registry.failed_plugins()
    assert failed.origin == "broken-plugin 1.0"
    assert reason in failed.failure
    assert "half" not in registry.names("view"), "a plugin that fails half way leaves nothing behind"
    assert "poi" in registry.names("view")
    with pytest.raises(UserError, match=r"unknown view 'half'.*'broken_plugin' \(broken-plugin 1.0\) failed to load"):
        registry.get("view", "half")


def test_two_plugins_with_one_name_fail_only_when_the_name_is_used(install) -> None:
    code = """
        from urbankit import hookimpl

        @hookimpl
        def register_views(register):
            register("metro", "{module}:View", "rides")
    """
    install("first-metro", "first_metro", code.format(module="first_metro"))
    install("second-metro", "second_metro", code.format(module="second_metro"), version="4.0")

    rivals = [entry.origin for entry in registry.entries("view") if entry.name == "metro"]
    assert rivals == ["first-metro 1.0", "second-metro 4.0"]
    assert "distance" in registry.names("view")
    with pytest.raises(UserError, match=r"first-metro 1.0.*second-metro 4.0"):
        registry.get("view", "metro")


def test_plugin_can_be_added_without_a_package() -> None:
    from urbankit import hookimpl

    plugin = types.SimpleNamespace(
        register_views=hookimpl(lambda register: register("here", "helpers.toys:Ring")),
    )
    registry.add_plugin(plugin, "notebook")
    assert registry.get("view", "here").__name__ == "Ring"


def test_builtins_are_registered_without_an_installed_distribution(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("urbankit.registry.discovery.metadata.entry_points", lambda group: [])
    entries = registry.entries("view")
    assert {"poi", "mobility", "distance"} <= {entry.name for entry in entries}
    assert {entry.distribution for entry in entries} == {"urbankit"}
