"""Models that a package ships: listed, found by name, checked."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from urbankit import Model, Recipe, Run, UserError, registry, testing
from urbankit.pipeline.model_files import CARD, MODEL
from urbankit.pipeline.run import run
from urbankit.registry.models import PackagedModel, model_folder
from urbankit.utils.progress import Progress

CODE = """
from pathlib import Path

from urbankit import hookimpl
from urbankit.registry.models import PackagedModel

class Tiny(PackagedModel):
    "A model of a test."

    folder = Path({folder!r})
    licence = "CC0"
    attribution = "nobody"

@hookimpl
def register_models(register):
    register("tiny-town", "tiny_models:Tiny", "a small town")
"""


@pytest.fixture(scope="module")
def exported(tiny_city, recipe_on, tmp_path_factory) -> Path:
    """The folder of a model of the tiny city."""
    keys = recipe_on(tiny_city) | {"tasks": {"co": {"head": {"name": "ridge"}}}}
    keys["pretrain"]["epochs"] = 1
    keys["finetune"]["update"] = []
    keys["modalities"] |= {"poi_counts": {"name": "poi_counts"}}
    keys["evaluation"] |= {"floors": ["mean"]}
    folder = tmp_path_factory.mktemp("models")
    run(Recipe.load(keys), folder / "run", progress=Progress(quiet=True))
    Run.open(folder / "run").export("model", out=folder / "model")
    return folder / "model"


@pytest.fixture
def installed(install, exported, monkeypatch, tmp_path) -> Path:
    """A package that ships it as `tiny-town`, and an empty working folder."""
    site = install("tiny-models", "tiny_models", CODE.format(folder=str(exported)))
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(site), os.environ.get("PYTHONPATH", "")]))
    return exported


def command(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "urbankit", *map(str, arguments)], capture_output=True, text=True)


def test_an_installed_model_is_listed_and_predicts_by_name(installed, tiny_city):
    done = command("list-components", "--kind", "model", "--json")
    [listed] = json.loads(done.stdout)["components"]
    assert {"name": "tiny-town", "description": "a small town", "distribution": "tiny-models"}.items() <= listed.items()
    done = command("predict", "tiny-town", "--city", tiny_city.path, "--out", "p.csv")
    assert done.returncode == 0 and done.stdout.startswith("tiny-town: 90% intervals"), done.stderr
    assert len(Path("p.csv").read_text().splitlines()) == 1 + tiny_city.n_regions


def test_an_installed_model_embeds_by_name(installed, tiny_city, cli):
    cli("embed", "tiny-town", tiny_city.path)
    assert Path("embeddings.parquet").is_file()
    by_name, by_folder = (np.stack(Model.open(of).embed(tiny_city)["embedding"]) for of in ("tiny-town", installed))
    np.testing.assert_array_equal(by_name, by_folder)


def test_show_prints_licence_and_attribution(installed, cli):
    assert "CC0" in cli("show", "model", "tiny-town").stdout
    details = json.loads(cli("show", "model", "tiny-town", "--json").stdout)["details"]
    assert details == {"folder": str(installed), "licence": "CC0", "attribution": "nobody"}


def test_a_model_without_a_city_is_refused_by_name(installed, cli):
    message = cli("predict", "tiny-town", status=2).stderr
    assert "tiny-town: a model has no regions; name the city to predict with --city" in message


def test_an_unknown_model_is_refused_with_the_closest_name(installed, tiny_city, cli):
    for arguments in (("predict", "tiny-twon", "--city", tiny_city.path), ("embed", "tiny-twon", tiny_city.path)):
        message = cli(*arguments, status=2).stderr
        assert "unknown model 'tiny-twon'. Did you mean 'tiny-town'? There is no folder of this name either" in message
        assert "`urbankit list-components --kind model` lists the models" in message


def test_a_folder_comes_before_an_installed_model(installed, exported):
    shutil.copytree(exported, "tiny-town")
    assert Model.open("tiny-town").path == Path("tiny-town")
    Path("tiny-town", MODEL).unlink()
    with pytest.raises(UserError, match=r"tiny-town: is neither a model nor a run.*hides the installed model"):
        Model.open("tiny-town")


def test_a_prior_is_found_by_name(installed, tiny_city, recipe_on):
    keys = recipe_on(tiny_city) | {"tasks": {"co": {"head": {"name": "ridge"}}}, "prior": "tiny-town"}
    assert Recipe.load(keys).prior == installed.resolve()
    Path("mine").mkdir()
    Path("mine", MODEL).write_text("{}")
    assert Recipe.load(keys | {"prior": "mine"}).prior == Path("mine").resolve()
    with pytest.raises(UserError, match=r"prior: unknown model 'tiny-twon'\. Did you mean 'tiny-town'\?"):
        Recipe.load(keys | {"prior": "tiny-twon"})
    with pytest.raises(UserError, match="prior: there is neither a model nor a run in"):
        Recipe.load(keys | {"prior": "some/folder"})


def test_an_installed_model_passes_the_checks_of_its_kind(installed):
    testing.check_component("model", "tiny-town")


@pytest.fixture
def spoilt(exported, tmp_path, plugin):
    """Returns the faults of a model named `mine`, of a copy of the folder that a function has changed."""

    def faults(change, **attributes) -> str:
        folder = Path(shutil.copytree(exported, tmp_path / "copy"))
        change(folder)
        terms = {"folder": folder, "licence": "CC0", "attribution": "nobody", "__doc__": "A model."} | attributes
        plugin("model", type("Mine", (PackagedModel,), terms))
        with pytest.raises(testing.ConformanceError) as caught:
            testing.check_component("model", "mine")
        return str(caught.value)

    return faults


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda folder: (folder / CARD).unlink(), "README.md is missing or empty; `urbankit export RUN --to model`"),
        (lambda folder: (folder / MODEL).unlink(), "has no model.json; put into it what `urbankit export"),
        (lambda folder: (folder / MODEL).write_text("{"), "Its folder is a whole model: UserError: "),
        (lambda folder: (folder / "big").write_bytes(bytes(6_000_000)), "MB; a package holds less than 5 MB"),
        (shutil.rmtree, "is no folder; install its package again, or tell its author"),
    ],
    ids=["card", "description", "damaged", "size", "absent"],
)
def test_a_folder_that_is_no_whole_small_model_does_not_conform(spoilt, change, expected):
    assert expected in spoilt(change)


def test_a_model_without_licence_and_folder_does_not_conform(spoilt):
    message = spoilt(lambda folder: None, licence=" ", folder=None)
    assert "`licence` is ' '; give a text" in message and "'None', is no folder" in message


def test_a_model_whose_class_does_not_load_is_refused_with_the_reason(install, tmp_path):
    code = CODE.format(folder=str(tmp_path)).replace('"tiny_models:Tiny"', '"tiny_models:Absent"')
    install("tiny-models", "tiny_models", code)
    with pytest.raises(UserError, match=r"model 'tiny-town' of plugin .* does not load") as caught:
        model_folder("tiny-town")
    assert "no folder of this name" not in str(caught.value)
    assert registry.names("model") == ["tiny-town"]
