"""docs/plugins.md, done as it says: every command in order, every block of Python as a script."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

PAGE = Path(__file__).parents[2] / "docs" / "plugins.md"
BLOCKS = re.findall(r"```(\w*)\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL)


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """A folder, and an environment in which pip installs beside the present one and fetches nothing."""
    folder, site = tmp_path_factory.mktemp("work"), tmp_path_factory.mktemp("site")
    pip = {"PIP_TARGET": str(site), "PIP_NO_DEPS": "1", "PIP_NO_BUILD_ISOLATION": "0", "PIP_QUIET": "1"}
    paths = {
        "PYTHONPATH": os.pathsep.join([str(site), os.environ.get("PYTHONPATH", "")]),
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
    }
    return folder, os.environ | pip | paths


def test_commands_of_the_plugins_page_succeed_and_make_its_tree(workplace):
    folder, environment = workplace
    commands = "".join(text for language, text in BLOCKS if language == "bash")
    # An editable install needs a site-packages folder, which a target is not.
    script = "set -ex\n" + commands.replace("pip install -e ", "pip install ./")
    script = script.replace("pip wheel", "env -u PIP_TARGET pip wheel")
    done = subprocess.run(["bash", "-c", script], cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "urbankit-metro 0.1.0" in done.stdout and "2 passed" in done.stdout and "without faults" in done.stdout
    assert list((folder / "dist").glob("urbankit_metro-*.whl"))
    [tree] = [text for language, text in BLOCKS if not language and text.startswith("urbankit-metro/")]
    for name in re.findall(r"^ +(\S+\.\w+)", tree, flags=re.MULTILINE):
        assert list((folder / "urbankit-metro").rglob(name)), name


@pytest.mark.parametrize("number", range(sum(language == "python" for language, _ in BLOCKS)))
def test_python_blocks_of_the_plugins_page_run(number, workplace):
    folder, environment = workplace
    script = folder / f"block{number}.py"
    script.write_text([text for language, text in BLOCKS if language == "python"][number], encoding="utf-8")
    done = subprocess.run([sys.executable, script], cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_recipe_on_the_plugins_page_is_yaml():
    for language, text in BLOCKS:
        if language == "yaml":
            assert set(yaml.safe_load(text)) == {"extends", "views"}
