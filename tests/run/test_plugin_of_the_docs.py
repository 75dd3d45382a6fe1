"""The plugin that docs/plugins.md writes, installed by pip from a temporary folder, listed and used by a recipe."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

PAGE = Path(__file__).parents[2] / "docs" / "plugins.md"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of a process that has the package of the docs."""
    package, site = tmp_path_factory.mktemp("urbankit-metro"), tmp_path_factory.mktemp("site")
    blocks = re.findall(r"```(\w+)\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL)
    [pyproject] = [text for language, text in blocks if language == "toml"]
    plugin, view, modality = [text for language, text in blocks if language == "python"]
    (package / "pyproject.toml").write_text(pyproject.replace('dependencies = ["urbankit"]\n', ""))
    (package / "urbankit_metro").mkdir()
    for name, text in (("__init__", ""), ("plugin", plugin), ("view", view), ("modality", modality)):
        (package / "urbankit_metro" / f"{name}.py").write_text(text)
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(site), str(package)],
        check=True,
    )
    return os.environ | {"PYTHONPATH": str(site)}


def urbankit(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "urbankit", *arguments]
    return subprocess.run(command, env=environment | os.environ | environment, capture_output=True, text=True)


def test_it_is_listed_with_its_distribution(installed):
    listed = json.loads(urbankit(installed, "list-components", "--json").stdout)
    origins = {(c["kind"], c["name"]): c["distribution"] for c in listed["components"]}
    assert origins["view", "ring"] == origins["modality_encoder", "compass"] == "urbankit-metro"


def test_show_prints_what_its_parameters_mean(installed):
    assert "How many regions on." in urbankit(installed, "show", "view", "ring").stdout


def test_a_recipe_uses_both(installed, tiny_recipe, tmp_path):
    tiny_recipe["modalities"] = {"rsi": tiny_recipe["modalities"]["rsi"], "compass": {"name": "compass"}}
    tiny_recipe["views"]["ring"] = {"name": "ring", "steps": 2}
    tiny_recipe["tasks"] = {"co": {}}
    tiny_recipe["evaluation"] |= {"floors": ["mean"]}
    recipe = tmp_path / "with-plugin.yaml"
    recipe.write_text(yaml.safe_dump(tiny_recipe))
    done = urbankit(installed, "run", str(recipe), "--out", str(tmp_path / "run"))
    assert done.returncode == 0, done.stderr
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())
    assert manifest["plugins"]["urbankit-metro"] == "0.1"
