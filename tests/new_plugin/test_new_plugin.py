"""`urbankit new-plugin`: for every kind a package that installs, passes its own tests, is listed, checked and run."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from urbankit import UserError
from urbankit.new_plugin import KINDS, new_plugin

# A name of one letter and one of the most that there may be, since both change where lines break.
NAMES = {kind: f"my-{kind.replace('_', '-')}" for kind in KINDS} | {
    "view": "v",
    "fusion": "a-name-as-long-as-may-be-used",
}


SEVERAL = ["view", "modality", "pair_weight"]
"""The kinds of one package with several components."""


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a package of every kind."""
    folder = tmp_path_factory.mktemp("packages")
    for kind, name in NAMES.items():
        new_plugin(name, kind, folder / kind)
    new_plugin("several", SEVERAL, folder / "several")
    return folder


@pytest.fixture(scope="module")
def installed(packages: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of a process in which all of them are installed by pip."""
    site = tmp_path_factory.mktemp("site")
    # Without an environment for each build, which would fetch hatchling anew.
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--target"]
    subprocess.run([*command, str(site), *map(str, packages.iterdir())], check=True)
    return os.environ | {"PYTHONPATH": os.pathsep.join([str(site), os.environ.get("PYTHONPATH", "")])}


def run(environment: dict[str, str], *arguments: str, cwd: Path | None = None) -> str:
    # The cache is the one of the test, set after the environment was made.
    now = environment | {"URBANKIT_CACHE": os.environ["URBANKIT_CACHE"]}
    done = subprocess.run([sys.executable, "-m", *arguments], env=now, cwd=cwd, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def component(kind: str) -> str:
    return NAMES[kind].replace("-", "_")


# Captioners stand in no recipe.
IN_RECIPES = [kind for kind in KINDS if ".yaml" in KINDS[kind].command]


def test_all_new_plugins_are_listed_together(installed):
    listed = json.loads(run(installed, "urbankit", "list-components", "--json"))
    origins = {(c["kind"], c["name"]): c["distribution"] for c in listed["components"]}
    expected = {(KINDS[kind].name, component(kind)): f"urbankit-{name}" for kind, name in NAMES.items()}
    expected |= {(KINDS[kind].name, "several"): "urbankit-several" for kind in SEVERAL}
    assert expected.items() <= origins.items() and listed["failed"] == []


def test_tests_of_new_plugins_pass(installed, packages):
    # One process for all: most of its time is the import of torch.
    folders = map(str, packages.iterdir())
    summary = run(installed, "pytest", "-q", "-p", "no:cacheprovider", *folders, cwd=packages)
    assert "failed" not in summary and "passed" in summary


def test_code_of_new_plugins_passes_the_linters(packages):
    for command in (["check"], ["format", "--check"]):
        done = subprocess.run(
            [sys.executable, "-m", "ruff", *command, "--no-cache", str(packages)], capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout


def test_recipes_of_new_plugins_are_valid(installed, packages):
    """Each as `urbankit validate` reads it, all in one process."""
    code = (
        "import sys\nfrom urbankit import Recipe\nfrom urbankit.recipe.components import components\n"
        "for path in sys.argv[1:]:\n    recipe = Recipe.load(path)\n"
        "    print(recipe.name in {used.use.name for used in components(recipe)})\n"
    )
    recipes = [str(packages / kind / f"{component(kind)}.yaml") for kind in IN_RECIPES]
    done = subprocess.run([sys.executable, "-c", code, *recipes], env=installed, capture_output=True, text=True)
    assert done.stdout.split() == ["True"] * len(IN_RECIPES), done.stderr
    both = [str(packages / "several" / f"several-{kind}.yaml") for kind in SEVERAL]
    done = subprocess.run([sys.executable, "-c", code, *both], env=installed, capture_output=True, text=True)
    assert (len(done.stdout.split()), done.stderr) == (len(SEVERAL), "")


def test_recipe_of_a_new_plugin_runs(installed, packages, tiny_city, tmp_path):
    sets = [
        f"city={{prepared: {tiny_city.path}}}", "pretrain.epochs=1", "finetune.epochs=1", "tasks={co: {}}",
        "evaluation={seeds: [0], floors: [mean], min_class_size: 1, splits: [random]}", "report.figures=false",
    ]  # fmt: skip
    changes = [part for change in sets for part in ("--set", change)]
    recipe = packages / "method" / f"{component('method')}.yaml"
    run(installed, "urbankit", "run", str(recipe), "--out", str(tmp_path / "run"), *changes)
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())
    assert manifest["status"] == "done" and f"urbankit-{NAMES['method']}" in manifest["plugins"]


def test_new_captioner_writes_captions(installed, tiny_city, tmp_path):
    chosen = ["--captioner", component("captioner"), "--modality", "rsi", "--out", str(tmp_path)]
    run(installed, "urbankit", "caption", str(tiny_city.path), *chosen)
    rows = [json.loads(line) for line in (tmp_path / "rsi.jsonl").read_text().splitlines()]
    assert len(rows) == tiny_city.n_regions and all("%)" in row["caption"] for row in rows)


def test_no_template_placeholder_is_left(packages):
    for path in packages.rglob("*.*"):
        assert path.suffix in {".py", ".toml", ".md", ".yaml"} and "{{" not in path.read_text(), path


@pytest.mark.parametrize(
    ("name", "kind", "message"),
    [
        ("metro", "veiw", r"--kind: unknown kind 'veiw'. Did you mean 'view'\?"),
        ("poi", "view", r"the view 'poi' exists in urbankit .*urbankit.views.poi:PoiView"),
        ("urbankit-vit", "modality", "the modality_encoder 'vit' exists in"),
        ("mvure", "method", "the method 'mvure' exists in .*urbankit-baselines"),
        ("3d", "view", "'3d' cannot name a package"),
        ("a b", "view", "'a b' cannot name a package"),
        ("../x", "view", "cannot name a package"),
        ("", "view", "cannot name a package"),
        ("urbankit-", "view", "cannot name a package"),
        ("class", "head", "'class' is a keyword of Python"),
        ("rsi", "modality", "'rsi' is a modality of the package's recipe"),
        ("metro", ["view", "view"], "'view' is given twice"),
        ("metro", [], "--kind: give at least one kind: "),
        ("poi", ["metric", "view"], r"the view 'poi' exists in urbankit"),
        ("x" * 31, "head", "has 31 characters; use 30 at most"),
    ],
)
def test_unsuitable_names_are_refused_with_the_reason(name, kind, message, tmp_path):
    with pytest.raises(UserError, match=message):
        new_plugin(name, kind, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_command_reports_mistakes_without_a_traceback(tmp_path):
    command = [sys.executable, "-m", "urbankit", "new-plugin", "poi", "--kind", "view"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "") and done.stderr.startswith("error: NAME: the view 'poi' exists in")
    assert not list(tmp_path.iterdir())


def test_all_mistakes_of_new_plugin_are_reported_at_once(tmp_path):
    with pytest.raises(UserError) as caught:
        new_plugin("3d", "veiw", tmp_path / "out")
    assert len(caught.value.problems) == 2


def test_package_of_several_kinds_has_a_file_tests_and_a_recipe_of_each(tmp_path):
    folder = new_plugin("metro", ["view", "modality", "metric"], tmp_path / "metro")
    assert {path.name for path in folder.glob("*.yaml")} == {"metro-view.yaml", "metro-modality.yaml"}
    assert {path.stem for path in (folder / "urbankit_metro").iterdir()} >= {"view", "modality", "metric", "plugin"}
    assert len(list((folder / "tests").iterdir())) == 3
    readme = (folder / "README.md").read_text()
    assert "urbankit run metro-view.yaml" in readme and "- The modality encoder `metro`: how far" in readme
    command = [sys.executable, "-m", "urbankit", "new-plugin", "tram", "--kind", "view", "--kind", "modality"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "run urbankit-tram/tram-view.yaml" in done.stdout and "tram-modality.yaml" in done.stdout


def test_a_folder_with_files_is_refused_and_an_empty_one_is_filled(tmp_path):
    (tmp_path / "urbankit-metro").mkdir()
    notes = tmp_path / "urbankit-metro" / "notes.txt"
    notes.write_text("mine")
    with pytest.raises(UserError, match="is not an empty folder; choose another --out"):
        new_plugin("metro", "view", tmp_path / "urbankit-metro")
    assert [path.name for path in tmp_path.rglob("*")] == ["urbankit-metro", "notes.txt"]
    assert notes.read_text() == "mine"
    (tmp_path / "here").mkdir()
    new_plugin("urbankit-Metro-Lines", "view", tmp_path / "here")
    assert 'name = "urbankit-metro-lines"' in (tmp_path / "here" / "pyproject.toml").read_text()
    assert "class MetroLinesView(View)" in (tmp_path / "here" / "urbankit_metro_lines" / "view.py").read_text()


@pytest.mark.parametrize(
    ("name", "class_name"), [("metro-view", "MetroView"), ("view", "ViewView"), ("metro", "MetroView")]
)
def test_class_name_ends_with_its_kind_once(name, class_name, tmp_path):
    new_plugin(name, "view", tmp_path / "here")
    assert f"class {class_name}(View)" in next((tmp_path / "here").rglob("view.py")).read_text()


def test_new_plugin_accepts_the_current_folder(tmp_path, monkeypatch):
    (tmp_path / "metro").mkdir()
    monkeypatch.chdir(tmp_path / "metro")
    new_plugin("metro", "view", ".")
    assert Path("pyproject.toml").is_file() and not list(tmp_path.glob(".metro*"))
