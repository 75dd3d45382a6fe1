"""The plugins in plugins/ as a user installs them: listed, checked, chosen by URBANKIT_PLUGINS or left out."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from urbankit import testing

PLUGINS = Path(__file__).parents[2] / "plugins"
OURS = ("urbankit-raster", "urbankit-contiguity")


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of a process in which both are installed by pip."""
    site = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--target"]
    subprocess.run([*command, str(site), *(str(PLUGINS / name) for name in OURS)], check=True)
    path = os.pathsep.join([str(site), os.environ.get("PYTHONPATH", "")])
    return {name: value for name, value in os.environ.items() if name != "URBANKIT_PLUGINS"} | {"PYTHONPATH": path}


def urbankit(environment: dict[str, str], *arguments: str, status: int = 0) -> str:
    """What the command prints; on standard error where it is to fail."""
    command = [sys.executable, "-m", "urbankit", *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == status and "Traceback" not in done.stderr, done.stdout + done.stderr
    return done.stderr if status else done.stdout


def listed(environment: dict[str, str], *options: str) -> tuple[set[str], set[str]]:
    """The distributions that components come from, and those left out."""
    listing = json.loads(urbankit(environment, *options, "list-components", "--json"))
    return {c["distribution"] for c in listing["components"]}, {p["distribution"] for p in listing["left_out"]}


def test_both_plugins_are_listed(installed):
    used, left_out = listed(installed)
    assert set(OURS) < used and not left_out


@pytest.mark.parametrize("name", ["raster", "urbankit-raster", "Urbankit_Raster", " raster , builtin"])
def test_a_plugin_is_chosen_by_entry_point_or_distribution(installed, name):
    used, left_out = listed(installed | {"URBANKIT_PLUGINS": name})
    assert used == {"urbankit", "urbankit-raster"} and "urbankit-contiguity" in left_out


def test_no_plugins_leaves_only_built_in_components(installed):
    for environment, options in ((installed | {"URBANKIT_PLUGINS": ""}, ()), (installed, ("--no-plugins",))):
        used, left_out = listed(environment, *options)
        assert used == {"urbankit"} and set(OURS) <= left_out
    assert listed(installed | {"URBANKIT_PLUGINS": "raster"}, "--no-plugins")[0] == {"urbankit"}


def test_unknown_plugin_name_is_refused_with_the_installed_names(installed):
    message = urbankit(installed | {"URBANKIT_PLUGINS": "rastr,raster"}, "list-components", status=2)
    assert message.startswith("error: URBANKIT_PLUGINS: there is no plugin 'rastr'. Did you mean 'raster'? Installed:")
    assert "contiguity (urbankit-contiguity 0.1.0)" in message and message.count("error") == 1


def test_recipe_that_needs_a_left_out_plugin_is_refused_with_the_reason(installed):
    message = urbankit(installed, "--no-plugins", "validate", "plugins/new-york-raster", status=2)
    assert "new-york-raster.yaml:7: modalities.nightlight.name: unknown modality_encoder 'raster'" in message
    assert "left out by URBANKIT_PLUGINS or --no-plugins:" in message and "pip install" not in message


def test_list_components_shows_left_out_plugins(installed):
    lines = urbankit(installed | {"URBANKIT_PLUGINS": "raster"}, "list-components").splitlines()
    assert any("contiguity" in line and "by URBANKIT_PLUGINS or --no-plugins" in line for line in lines)


def test_doctor_shows_selected_plugins_and_no_fault(installed):
    lines = urbankit(installed | {"URBANKIT_PLUGINS": "raster"}, "doctor").splitlines()
    assert any(
        "plugins" in line and "urbankit-raster 0.1.0" in line and "URBANKIT_PLUGINS=raster" in line for line in lines
    )
    assert any("plugin contiguity" in line and "left out" in line for line in lines)
    assert any("components" in line and "without faults" in line for line in lines)


def test_workers_use_the_same_plugins(installed):
    """A worker is asked for a run whose recipe names a plugin's component that the bench has left out."""
    code = (
        "import sys, pathlib, urbankit.registry.discovery\nfrom urbankit.bench.pool import Job, run_jobs\n"
        "urbankit.registry.discovery.load_none()\nout = pathlib.Path(sys.argv[1])\n"
        "recipe = '{name: x, city: {prepared: %s}, modalities: {r: {name: raster}}, method: {name: urbanmmcl}}'\n"
        "job = Job('run', recipe % sys.argv[2], out / 'run', out / 'log')\n"
        "print([outcome.errors for outcome in run_jobs([job], 1)])\n"
    )
    arguments = [os.environ["URBANKIT_CACHE"], str(testing.tiny_city().path)]
    done = subprocess.run([sys.executable, "-c", code, *arguments], env=installed, capture_output=True, text=True)
    assert "unknown modality_encoder 'raster'" in done.stdout and "left out" in done.stdout, done.stdout + done.stderr
