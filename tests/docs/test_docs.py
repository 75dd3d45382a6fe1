"""The commands, scripts and YAML of the README and the docs are run."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from helpers.quick import QUICK

import urbankit
from urbankit import Recipe, registry
from urbankit.bench.suite import load_plan
from urbankit.city.spec import city_spec
from urbankit.datasets.synthetic import write_demo
from urbankit.utils.progress import Progress

ROOT = Path(__file__).parents[2]
PAGES = ["README.md", *(f"docs/{page.name}" for page in sorted((ROOT / "docs").glob("*.md")))]
WRITTEN = sorted(
    path for pattern in ("*.md", "docs/**/*.md", "docs/**/*.py", "plugins/**/README.md") for path in ROOT.glob(pattern)
)
# Words that stand for a number or a sentence that is still missing.
UNFILLED = re.compile(
    r"\b(?:[A-Z]{4,}[2-9]|AFTER(?=\.)|TODO|TBD|FIXME|XXX)\b|\| *(?:RUNS|KILLS|FAILS|HOURS|MINUTES|SECONDS) *(?=\|)"
)
# The blocks of this page are run by a test of the plugins.
ELSEWHERE = {"docs/plugins.md"}
# `.ci/run` installs the package and runs the tests.
BY_CI = ("python -m venv", "pytest")
# Suites with rows of the package urbankit-baselines.
NEED_BASELINES = ("paper-tables", "real-cities")
# Finished runs that the commands of a page need.
RUNS = {
    ("README.md", "bash"): ["runs/a", "runs/b", "runs/urbanmmcl"],
    ("docs/bench.md", "bash"): ["runs/no-text", "runs/urbanmmcl"],
    ("docs/bench.md", "python"): ["runs/a", "runs/b"],
    ("docs/export.md", "bash"): ["runs/ny"],
    ("docs/export.md", "python"): ["runs/ny"],
    ("docs/index.md", "python"): ["runs/first"],
    ("docs/predict.md", "bash"): ["runs/ny"],
    ("docs/predict.md", "python"): ["runs/ny"],
    ("docs/reliability.md", "bash"): ["runs/new-york"],
    ("docs/report.md", "bash"): ["runs/new-york", "runs/no-text", "runs/urbanmmcl"],
    ("docs/report.md", "python"): ["runs/new-york", "runs/no-text", "runs/urbanmmcl"],
    ("docs/run-folder.md", "python"): ["runs/new-york"],
    ("docs/transfer.md", "bash"): ["runs/ny"],
}
SUITE = f"""\
seeds: [0]
cities: {{synthetic: {{set: {{city: {{demo: {{regions: 36, seed: 7}}}}}}}}}}
overrides: {{{", ".join(change.replace("=", ": ", 1) for change in QUICK)}}}
runs:
  w/o text: ablations/no-text
  UrbanMMCL: urbanmmcl
tables: {{table-2: {{title: Overall, reference: UrbanMMCL}}}}
"""


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", (ROOT / page).read_text(encoding="utf-8"), flags=re.DOTALL)


def pages_with(language: str) -> list[str]:
    return [page for page in PAGES if page not in ELSEWHERE and blocks(page, language)]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a small city's sources, the city prepared, and a finished run on it."""
    folder = tmp_path_factory.mktemp("finished")
    write_demo(folder / "sources", regions=36, seed=1)
    urbankit.City.prepare(folder / "sources" / "city.yaml", out=folder / "city")
    sets = [*QUICK, f"city={{prepared: {folder / 'city'}}}", "finetune.update=[]"]
    sets += [f"tasks.{name}={{head: {{name: task_adaptive}}}}" for name in ("co", "population_density")]
    urbankit.run(Recipe.load("urbanmmcl", sets), folder / "run", progress=Progress(quiet=True))
    return folder


@pytest.fixture
def workplace(finished: Path, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that a reader works in: the recipes of a checkout, and files with the names that the docs use."""
    (tmp_path / "recipes").symlink_to(ROOT / "recipes")
    shutil.copytree(finished / "sources", tmp_path / "sources")
    shutil.copytree(finished / "sources", tmp_path, dirs_exist_ok=True)
    (tmp_path / "city.yaml").rename(tmp_path / "my-city.yaml")
    (tmp_path / "my-suite.yaml").write_text(SUITE)
    (tmp_path / "my-recipe.yaml").write_text("extends: urbanmmcl\n")
    real = Path(os.environ["URBANKIT_TEST_DATA"])
    if real.is_dir():
        (tmp_path / "DATA").symlink_to(real)
    return tmp_path


@pytest.fixture
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of a shell in which `urbankit` is the quick one."""
    tools = tmp_path_factory.mktemp("bin")
    (tools / "urbankit").write_text(f'#!/bin/sh\nexec "{sys.executable}" "{ROOT / "tests/helpers/quick.py"}" "$@"\n')
    (tools / "urbankit").chmod(0o755)
    return os.environ | {"PATH": os.pathsep.join([str(tools), os.environ["PATH"]]), "MPLBACKEND": "Agg"}


def add_runs(page: str, language: str, workplace: Path, finished: Path) -> None:
    for name in RUNS.get((page, language), []):
        shutil.copytree(finished / "run", workplace / name)


@pytest.mark.parametrize("page", pages_with("bash"))
def test_commands_of_a_page_succeed(page: str, workplace: Path, finished: Path, environment: dict[str, str]) -> None:
    add_runs(page, "bash", workplace, finished)
    if page == "docs/index.md":  # the page makes this folder
        shutil.rmtree(workplace / "sources")
    lines = [line for text in blocks(page, "bash") for line in text.splitlines() if not line.startswith(BY_CI)]
    if not (workplace / "DATA").exists():
        lines = [line for line in lines if "DATA" not in line]
    if "hrep" not in registry.names("method"):
        lines = [line for line in lines if not any(suite in line for suite in NEED_BASELINES)]
    script = "set -ex\n" + "\n".join(lines)
    done = subprocess.run(["bash", "-c", script], cwd=workplace, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]


@pytest.mark.parametrize("page", pages_with("python"))
def test_scripts_of_a_page_succeed(page: str, workplace: Path, finished: Path, environment: dict[str, str]) -> None:
    add_runs(page, "python", workplace, finished)
    for text in blocks(page, "python"):
        script = workplace / "script.py"
        quick = text.replace('"pretrain.epochs=10"', ", ".join(f'"{change}"' for change in QUICK))
        script.write_text(quick, encoding="utf-8")
        done = subprocess.run([sys.executable, script], cwd=workplace, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, f"{text}\n{done.stderr[-3000:]}"


@pytest.mark.parametrize("page", pages_with("yaml"))
def test_yaml_of_a_page_is_valid(page: str, tmp_path: Path) -> None:
    for text in blocks(page, "yaml"):
        shown = yaml.safe_load(text)
        if "runs" in shown:
            (tmp_path / "DATA" / "new-york").mkdir(parents=True)
            (tmp_path / "suite.yaml").write_text(text, encoding="utf-8")
            assert load_plan(tmp_path / "suite.yaml").runs
        elif {"regions", "captions", "allow"} & set(shown):
            city_spec().model_validate({"name": "shown", "regions": {"file": "regions.gpkg", "id": "id"}} | shown)
        else:
            # The city or cities, and the model of other cities, are the reader's.
            theirs = {"name": "shown", "city": {"demo": {"regions": 36}}, "cities": None, "prior": None}
            if "cities" in shown:
                shown.pop("pretrain")
            keys = {"extends": "urbanmmcl"} | shown | theirs
            assert Recipe.load(keys).method.name == "urbanmmcl"


@pytest.mark.parametrize("page", [*PAGES, "CONTRIBUTING.md", "CHANGELOG.md"])
def test_files_that_a_page_names_exist(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    named = re.findall(r"`((?:urbankit|tests|plugins|recipes|docs)/[\w./-]+)`", text)
    assert [name for name in named if not (ROOT / name).exists()] == []


@pytest.mark.parametrize("page", WRITTEN, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_page_has_no_placeholders(page: Path) -> None:
    assert UNFILLED.findall(page.read_text(encoding="utf-8")) == []


def test_citation_has_the_required_keys_and_the_current_version() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert {"cff-version", "message", "title", "authors", "references"} <= set(citation)
    assert citation["version"] == urbankit.__version__
    assert citation["references"][0]["title"].startswith("UrbanMMCL")
