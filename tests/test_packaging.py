"""The wheel, and the files in `packaging` that follow pyproject.toml."""

import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

from urbankit.utils.version import __version__

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
CONDA_NAMES = {
    "torch": "pytorch", "h3": "h3-py", "matplotlib": "matplotlib-base", "huggingface-hub": "huggingface_hub",
}  # fmt: skip


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*command, "--wheel-dir", str(folder), str(ROOT)], check=True)
    [path] = folder.iterdir()
    return path


def test_the_wheel_passes_the_checks_of_the_index(wheel: Path) -> None:
    checked = subprocess.run(
        [sys.executable, "-m", "twine", "check", "--strict", str(wheel)], capture_output=True, text=True
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_the_wheel_holds_all_code_recipes_and_files_of_the_report_and_nothing_else(wheel: Path) -> None:
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    files = [path for path in (ROOT / "urbankit").rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    expected = {path.relative_to(ROOT).as_posix() for path in files}
    recipes = [path for path in (ROOT / "recipes").rglob("*") if path.is_file()]
    expected |= {f"urbankit/_recipes/{path.relative_to(ROOT / 'recipes').as_posix()}" for path in recipes}
    assert names == expected


def test_the_conda_recipe_requires_what_the_package_requires() -> None:
    recipe = yaml.safe_load((ROOT / "packaging/conda/recipe.yaml").read_text())
    assert recipe["context"]["version"] == __version__
    assert f">={recipe['context']['python_min']}" == PROJECT["requires-python"]
    required = [Requirement(text) for text in PROJECT["dependencies"]]
    expected = {CONDA_NAMES.get(one.name, one.name): one.specifier for one in required if one.name != "dgl"}
    run = [Requirement(text) for text in recipe["requirements"]["run"] if not text.startswith("python ")]
    assert {one.name: one.specifier for one in run} == expected


def test_the_docker_image_is_built_from_what_the_package_supports() -> None:
    text = (ROOT / "packaging/Dockerfile").read_text()
    [torch] = [one for one in PROJECT["dependencies"] if one.startswith("torch")]
    assert f'"{torch}"' in text
    [extras] = re.findall(r"ARG EXTRAS=(\S+)", text)
    assert set(extras.split(",")) <= set(PROJECT["optional-dependencies"])
