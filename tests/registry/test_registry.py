"""What the registry says about names it has, has not and cannot load."""

import re
import subprocess
import sys
from types import SimpleNamespace

import pytest
from helpers import toys

from urbankit import Use, UserError, hookimpl, registry


class Faulty:
    @staticmethod
    @hookimpl
    def register_views(register):
        register("no_params", "helpers.toys:NoParams")
        register("no_build", "helpers.toys:NoBuild")
        register("no_module", "absent_module:View")
        register("no_class", "helpers.toys:Absent")
        register("unwritten", "helpers.toys:Unwritten")
        register("undocumented", "helpers.toys:Undocumented")
        register("loose", "helpers.toys:Loose")


def test_every_kind_but_models_is_built_in() -> None:
    assert {entry.kind for entry in registry.entries()} == set(registry.KINDS) - {"model"}
    assert all(entry.description and entry.distribution == "urbankit" for entry in registry.entries())


def test_unknown_names_say_what_is_close_and_where_to_get_it() -> None:
    with pytest.raises(UserError, match=r"unknown view 'mobilty'\. Did you mean 'mobility'\?"):
        registry.get("view", "mobilty")
    with pytest.raises(UserError, match=r"unknown method 'mvure'.*pip install ./plugins/urbankit-baselines"):
        registry.get("method", "mvure")
    with pytest.raises(UserError, match=r"unknown kind 'veiw'\. Did you mean 'view'\?"):
        registry.get("veiw", "poi")
    with pytest.raises(UserError, match="unknown kind 'veiw'"):
        registry.entries("veiw")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("no_params", "lacks a `Params` class derived from urbankit.Params; write `class Params(urbankit.Params)`"),
        ("no_build", "lacks what every view has: build; write it as urbankit.views.base.View describes it"),
        ("unwritten", "class 'helpers.toys:Unwritten', lacks what every view has: build"),
        ("no_module", "ModuleNotFoundError: No module named 'absent_module'. The target is to be `module:Class`"),
        ("no_class", "AttributeError"),
        ("undocumented", "does not say what its parameters mean: k; give each a Field(description=...)"),
        ("loose", "takes parameters that it does not know; remove `extra` from the model_config of its Params"),
    ],
)
def test_invalid_component_is_refused_with_its_plugin(name: str, message: str) -> None:
    registry.add_plugin(Faulty, "faulty")
    with pytest.raises(UserError, match=f"view '{name}' of plugin 'faulty'") as caught:
        registry.get("view", name)
    assert message in str(caught.value)


def test_all_faults_of_all_plugins_are_reported_at_once() -> None:
    assert registry.faults() == []
    registry.add_plugin(Faulty, "faulty")
    assert [fault.partition("'")[2].partition("'")[0] for fault in registry.faults()] == sorted(
        ("no_params", "no_build", "no_module", "no_class", "unwritten", "undocumented", "loose")
    )


def test_create_builds_with_validated_params(toy: None) -> None:
    class Made(toys.Ring):
        def __init__(self, params, city):
            self.params, self.city = params, city

    toys.Made = Made
    plugin = type(
        "P", (), {"register_views": staticmethod(hookimpl(lambda register: register("made", "helpers.toys:Made")))}
    )
    registry.add_plugin(plugin, "made")
    view = registry.create("view", Use(name="made", neighbours=3), "a city")
    assert (view.params.neighbours, view.city) == (3, "a city")
    with pytest.raises(UserError, match=r"view 'made': neighbours: .*greater than or equal to 1"):
        registry.create("view", Use(name="made", neighbours=0), "a city")


@pytest.mark.parametrize("argument", ["--help", "list-components"])
def test_listing_imports_nothing_heavy(argument: str) -> None:
    code = (
        f"import atexit, sys; sys.argv = ['urbankit', {argument!r}];"
        "heavy = ('torch', 'transformers', 'numpy', 'pandas', 'geopandas', 'polars', 'sklearn', 'matplotlib');"
        "atexit.register(lambda: print('imported:', [name for name in heavy if name in sys.modules]));"
        "from urbankit.cli.main import main; main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "imported: []"


def test_registering_a_plugin_again_replaces_it() -> None:
    try:
        for target in ("helpers.toys:Absent", "helpers.toys:Ring"):
            hook = hookimpl(lambda register, target=target: register("on", target))
            registry.add_plugin(SimpleNamespace(register_views=hook), "cell")
        assert registry.get("view", "on") is toys.Ring
    finally:
        registry.reload()


@pytest.mark.parametrize(
    ("registering", "reason"),
    [
        (lambda register: register("metro", toys.Ring), "the target is .* and not a text"),
        (lambda register: register(3, "helpers.toys:Ring"), "the name is of type int and not a text"),
        (lambda register: register("a.b", "helpers.toys:Ring"), "'a.b': names have letters, digits"),
    ],
)
def test_invalid_registration_fails_only_its_plugin(registering, reason) -> None:
    try:
        registry.add_plugin(SimpleNamespace(register_views=hookimpl(registering)), "cell")
        [failed] = [plugin for plugin in registry.failed_plugins() if plugin.name == "cell"]
        assert re.search(reason, failed.failure)
        assert registry.get("view", "poi")
    finally:
        registry.reload()


def test_plugin_that_registers_nothing_fails_with_the_reason() -> None:
    try:
        registry.add_plugin(
            SimpleNamespace(register_views=lambda register: register("on", "helpers.toys:Ring")), "cell"
        )
        [failed] = [plugin for plugin in registry.failed_plugins() if plugin.name == "cell"]
        assert "marked with @urbankit.hookimpl" in failed.failure
    finally:
        registry.reload()
