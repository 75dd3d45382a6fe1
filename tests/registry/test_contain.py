"""What a plugin does when it is loaded or used stays with it."""

from __future__ import annotations

import subprocess
import sys
import time
import types
from typing import Any

import pytest

from urbankit import Recipe, hookimpl, registry
from urbankit.registry.contain import PluginError, contained
from urbankit.registry.failure import ComponentError, explained
from urbankit.utils.errors import UserError


class Broken(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")

    __repr__ = __str__


def recursion() -> None:
    recursion()


def interrupt() -> None:
    raise KeyboardInterrupt


def broken() -> None:
    raise Broken


@pytest.mark.parametrize(
    "call", [lambda: sys.exit(0), interrupt, recursion, broken, lambda: exec("raise GeneratorExit")]
)
def test_a_hook_that_raises_anything_is_listed_as_failed(call) -> None:
    plugin = types.SimpleNamespace(register_views=hookimpl(lambda register: call()))
    registry.add_plugin(plugin, "hostile")
    (failed,) = registry.failed_plugins()
    assert failed.name == "hostile" and failed.failure
    assert "poi" in registry.names("view")


def test_a_hook_that_prints_does_not_write_to_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    def register_views(register) -> None:
        print("hello")
        register("ring", "helpers.toys:Ring")

    registry.add_plugin(types.SimpleNamespace(register_views=hookimpl(register_views)), "loud")
    output = capsys.readouterr()
    assert output.out == "" and "hello" in output.err and "ring" in registry.names("view")


def test_a_name_of_a_builtin_component_is_refused_and_the_builtin_stays() -> None:
    plugin = types.SimpleNamespace(register_views=hookimpl(lambda register: register("poi", "helpers.toys:Ring")))
    registry.add_plugin(plugin, "rival")
    (failed,) = registry.failed_plugins()
    assert "it registers the view 'poi', which is built in" in str(failed.failure)
    assert registry.get("view", "poi").__name__ == "PoiView"


def test_registered_objects_without_a_text_are_named_by_their_type() -> None:
    class Name:
        def __repr__(self) -> str:
            raise RuntimeError

    registry.add_plugin(types.SimpleNamespace(register_views=hookimpl(lambda register: register(Name(), "a:B"))), "odd")
    (failed,) = registry.failed_plugins()
    assert "the name is of type Name and not a text" in str(failed.failure)


def test_slow_plugin_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with contained("'slow' (slow 1.0)", slow=0.01):
        time.sleep(0.3)
    assert "plugin 'slow' (slow 1.0) is still loading" in capsys.readouterr().err


def test_ctrl_c_is_not_reported_as_a_plugin_failure() -> None:
    import os
    import signal

    with pytest.raises(KeyboardInterrupt), contained("'slow'"):
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(5)
    with pytest.raises(PluginError), contained("'hostile'"):
        raise KeyboardInterrupt


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
def test_a_signal_while_a_component_loads_is_not_taken_for_an_error_of_its_plugin(name: str) -> None:
    code = f"""
import os, signal, sys, types
from urbankit import Recipe, hookimpl, registry
from urbankit.cli import errors

module = types.ModuleType("loading")
module.__getattr__ = lambda name: os.kill(os.getpid(), signal.{name})
sys.modules["loading"] = module
views = hookimpl(lambda register: register("new", "loading:View"))
registry.add_plugin(types.SimpleNamespace(register_views=views), "loading")
signal.signal(signal.{name}, signal.SIG_DFL)  # `nohup` ignores SIGHUP
errors._handle_signals()
try:
    registry.get("view", "new")
except KeyboardInterrupt:
    sys.exit(7)
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert ended.returncode == 7, ended.stderr


def test_a_component_that_does_not_load_names_its_plugin(monkeypatch: pytest.MonkeyPatch) -> None:
    plugin = types.SimpleNamespace(register_views=hookimpl(lambda register: register("gone", "hostile_module:View")))
    module = types.ModuleType("hostile_module")
    module.__getattr__ = lambda name: sys.exit(0)
    monkeypatch.setitem(sys.modules, "hostile_module", module)
    registry.add_plugin(plugin, "hostile")
    with pytest.raises(UserError, match=r"view 'gone' of plugin 'hostile' .* does not load .*SystemExit: 0"):
        registry.get("view", "gone")


def test_an_error_in_a_component_names_plugin_and_component(monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("hostile_module")
    exec("import sys\nclass View:\n    def build(self):\n        sys.exit(0)", module.__dict__)
    monkeypatch.setitem(sys.modules, "hostile_module", module)
    plugin = types.SimpleNamespace(register_views=hookimpl(lambda register: register("gone", "hostile_module:View")))
    registry.add_plugin(plugin, "hostile")
    with pytest.raises(SystemExit) as caught:
        module.View().build()
    error = explained(caught.value)
    assert isinstance(error, ComponentError) and error.exit_status == 1
    assert "view 'gone' of plugin 'hostile' (this process) failed: SystemExit: 0" in str(error)


def test_exit_of_a_library_becomes_an_error_and_other_errors_are_unchanged() -> None:
    error, interrupted = ValueError("x"), KeyboardInterrupt()
    assert isinstance(explained(SystemExit(0)), ComponentError)
    assert explained(error) is error and explained(interrupted) is interrupted


def test_many_problems_say_once_why_a_plugin_and_a_component_do_not_load() -> None:
    def broken(register: Any) -> None:
        raise RuntimeError("no licence")

    registry.add_plugin(types.SimpleNamespace(register_heads=hookimpl(broken)), "broken")
    views = hookimpl(lambda register: register("gone", "module_that_is_not_there:View"))
    registry.add_plugin(types.SimpleNamespace(register_views=views), "hostile")
    recipe = {
        "extends": "urbanmmcl",
        "views": {"a": {"name": "gone"}, "b": {"name": "gone"}},
        "tasks": {name: {"head": {"name": "licensed"}} for name in ("co", "pm25", "land_use")},
    }
    with pytest.raises(UserError) as caught:
        Recipe.load(recipe)
    before, after = str(caught.value), str(explained(caught.value))
    assert before.count("RuntimeError: no licence") == 3 and before.count("No module named") == 2
    assert after.count("RuntimeError: no licence") == 1 and after.count("No module named") == 1
    assert after.count("unknown head 'licensed'") == 3
    assert "views.b" in after and "view 'gone' of plugin 'hostile' (this process): as above" in after
    assert type(explained(caught.value)) is UserError
