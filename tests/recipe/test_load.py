"""How a recipe comes together: files, `extends`, `--set`, paths, shipped names."""

import re
from pathlib import Path

import pytest
import yaml
from helpers.toys import RECIPE

from urbankit import Recipe, UserError
from urbankit.registry import recipes

OVER = "extends: toy.yaml\n"


def test_defaults_of_recipe_and_components_are_written_out(recipe_file) -> None:
    recipe = Recipe.load(recipe_file())
    assert recipe.name == "toy"
    assert recipe.city.demo.regions == 30
    assert recipe.modalities["rsi"].params == {"patch_size": 16, "weights": None}
    assert recipe.method.params["fusion"] == {"name": "toy_sum"}
    assert recipe.evaluation.seeds == [0, 1, 2, 3, 4]


def test_the_resolved_recipe_reads_back_the_same(recipe_file, tmp_path: Path) -> None:
    sets = ["method.clip=null", "finetune.batch_size=null", "method.fusion={name: toy_gate, hidden: 3}"]
    recipe = Recipe.load(recipe_file(), [*sets, "pretrain.learning_rate=1e-6"])
    assert recipe.method.params["clip"] is None
    assert recipe.method.params["fusion"] == {"name": "toy_gate", "hidden": 3, "after": {"name": "toy_sum"}}
    assert recipe.pretrain.learning_rate == 1e-6
    again = tmp_path / "elsewhere" / "recipe.yaml"
    again.parent.mkdir()
    again.write_text(recipe.to_yaml())
    assert Recipe.load(again) == recipe
    assert Recipe.from_yaml(recipe.to_yaml()) == recipe


def test_extends_merges_deeply_and_drops_the_name(recipe_file) -> None:
    recipe_file("name: base\ndescription: the base\npretrain: {epochs: 7, batch_size: 8}\n")
    over = recipe_file("pretrain: {epochs: 9}\nmethod: {dim: 32}\n", "over.yaml", OVER)
    recipe = Recipe.load(over)
    assert (recipe.name, recipe.description) == ("over", "")
    assert (recipe.pretrain.epochs, recipe.pretrain.batch_size) == (9, 8)
    assert (recipe.method.name, recipe.method.params["dim"]) == ("toy_contrast", 32)


def test_extends_chains_through_folders(recipe_file) -> None:
    recipe_file()
    recipe_file("method: {dim: 32}\n", "over.yaml", OVER)
    last = recipe_file("method: {rate: 0.25}\n", "deep/last.yaml", "extends: ../over.yaml\n")
    params = Recipe.load(last).method.params
    assert (params["dim"], params["rate"]) == (32, 0.25)


def test_null_removes_an_inherited_part_and_sets_an_inherited_scalar_to_null(recipe_file) -> None:
    recipe_file("engine: torch\n")
    recipe = Recipe.load(recipe_file("views: {ring: null}\ntasks: {co: null}\n", "over.yaml", OVER))
    assert recipe.views == {} and recipe.tasks == {}
    assert Recipe.load(recipe_file(), ["views.ring=null"]).views == {}
    recipe_file("finetune: {batch_size: 64}\n")
    assert Recipe.load(recipe_file("finetune: {batch_size: null}\n", "o.yaml", OVER)).finetune.batch_size is None


def test_null_that_removes_nothing_is_a_mistake(recipe_file) -> None:
    with pytest.raises(UserError, match=r"toy.yaml:8: views.grid: null removes an inherited component, and none"):
        Recipe.load(recipe_file(base=RECIPE.replace("method:", "  # a comment\n\n  grid: null\nmethod:")))


def test_a_component_of_another_name_replaces_the_inherited_one(recipe_file) -> None:
    recipe_file("", base=_contrast("fusion: {name: toy_gate, hidden: 3}"))
    inherited = Recipe.load(recipe_file("method: {fusion: {hidden: 4}}\n", "kept.yaml", OVER))
    assert inherited.method.params["fusion"]["hidden"] == 4
    replaced = Recipe.load(recipe_file("method: {fusion: {name: toy_sum}}\n", "replaced.yaml", OVER))
    assert replaced.method.params["fusion"] == {"name": "toy_sum"}
    same = Recipe.load(recipe_file("method: {fusion: {name: toy_gate}}\n", "same.yaml", OVER))
    assert same.method.params["fusion"]["hidden"] == 3


def _contrast(params: str) -> str:
    return RECIPE.replace("{name: toy_contrast}", "{name: toy_contrast, " + params + "}")


def test_another_kind_of_city_replaces_the_inherited_one(recipe_file, tmp_path: Path) -> None:
    recipe_file()
    (tmp_path / "prepared").mkdir()
    recipe = Recipe.load(recipe_file("city: {prepared: prepared}\n", "over.yaml", OVER))
    assert recipe.city.demo is None
    assert recipe.city.prepared == tmp_path / "prepared"


@pytest.mark.parametrize("changes", [["prepared=prepared", "demo=null"], ["demo=null", "prepared=prepared"]])
def test_a_kind_of_city_that_is_set_to_null_does_not_replace_another(changes, recipe_file, tmp_path: Path) -> None:
    (tmp_path / "prepared").mkdir()
    sets = [f"city.{change}".replace("=prepared", f"={tmp_path / 'prepared'}") for change in changes]
    assert Recipe.load(recipe_file(), sets).city.prepared == tmp_path / "prepared"


def test_relative_paths_start_from_the_file_that_contains_them(
    recipe_file, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = tmp_path / "base"
    (base / "data").mkdir(parents=True)
    (base / "city.yaml").write_text("name: x\n")
    recipe_file(
        "", "base/toy.yaml", _contrast("dim: 2").replace("{demo: {regions: 30}}", "{spec: city.yaml, data: data}")
    )
    over = recipe_file("modalities: {rsi: {weights: w.safetensors}}\n", "over/over.yaml", "extends: ../base/toy.yaml\n")
    recipe = Recipe.load(over)
    assert recipe.city.spec == base / "city.yaml"
    assert recipe.city.data == base / "data"
    assert recipe.modalities["rsi"].params["weights"] == str(tmp_path / "over" / "w.safetensors")

    (tmp_path / "here" / "mine").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "here")
    assert Recipe.load(over, ["city.data=mine"]).city.data == tmp_path / "here" / "mine"


def test_set_creates_missing_keys_and_the_last_value_wins(recipe_file) -> None:
    sets = [
        "pretrain.learning_rates.graph=1e-4",
        "method.dim=8",
        "method.dim=16",
        "name=mine",
        "evaluation.seeds=[3,4]",
    ]
    recipe = Recipe.load(recipe_file(), sets)
    assert recipe.pretrain.learning_rates == {"graph": 1e-4}
    assert recipe.method.params["dim"] == 16
    assert (recipe.name, recipe.evaluation.seeds) == ("mine", [3, 4])


def test_a_recipe_may_be_a_mapping(toy) -> None:
    assert Recipe.load({"name": "inline", **yaml.safe_load(RECIPE)}).name == "inline"
    with pytest.raises(UserError, match="recipe: name: is missing"):
        Recipe.load(yaml.safe_load(RECIPE))


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (
            {"a.yaml": "extends: a.yaml\n"},
            "a.yaml:1: extends: the recipes extend each other in a circle: a.yaml → a.yaml",
        ),
        (
            {"a.yaml": "seed: 1\nextends: b.yaml\n", "b.yaml": "extends: c.yaml\n", "c.yaml": "extends: b.yaml\n"},
            "c.yaml:1: extends: the recipes extend each other in a circle: b.yaml → c.yaml → b.yaml",
        ),
        ({"a.yaml": "seed: 1\nextends: gone.yaml\n"}, "a.yaml:2: extends: there is no recipe file"),
        (
            {"a.yaml": "extends: notes.txt\n", "notes.txt": "mine"},
            "'notes.txt' is no recipe file: its name does not end",
        ),
        ({"a.yaml": f"extends: {'x' * 5000}\n"}, "a.yaml:1: extends: there is no recipe file"),
        ({"a.yaml": "extends: [b, c]\n"}, "a.yaml:1: extends: should be the file or the name of one recipe"),
        ({"a.yaml": ""}, "a.yaml: is empty"),
        ({"a.yaml": "- a\n"}, "a.yaml: is not a mapping"),
        ({"a.yaml": "city:\n\tdemo: 1\n"}, "a.yaml:2: a tab in the indentation"),
        ({"a.yaml": "extends: b.yaml\n", "b.yaml": "x: [1\n"}, "b.yaml:2: is not valid YAML"),
        ({"a.yaml": "seed: !!python/object:os.system 1\n"}, "a.yaml:1: is not valid YAML: the tag"),
    ],
)
def test_unreadable_recipe_files_are_refused(tmp_path: Path, files: dict[str, str], message: str) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(UserError, match=re.escape(message)):
        Recipe.load(tmp_path / "a.yaml")


def test_shipped_recipes_are_found_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("urbanmmcl", "ablations/no-views", "cities/new-york"):
        path = tmp_path / "recipes" / f"{name}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("name: x\n")
    monkeypatch.setattr(recipes, "shipped_folder", lambda: tmp_path / "recipes")
    monkeypatch.chdir(tmp_path)
    assert sorted(recipes.shipped()) == ["ablations/no-views", "urbanmmcl"]
    assert recipes.find("urbanmmcl") == tmp_path / "recipes" / "urbanmmcl.yaml"
    assert recipes.find("urbanmmcl.yaml", tmp_path) == tmp_path / "recipes" / "urbanmmcl.yaml"
    assert recipes.find("ablations/no-views").is_file()
    with pytest.raises(UserError, match=r"no shipped recipe 'urbanmcl'\. Did you mean 'urbanmmcl'\?"):
        recipes.find("urbanmcl")
    with pytest.raises(UserError, match="Shipped recipes: ablations/no-views, urbanmmcl"):
        recipes.find("xyz")
    (tmp_path / "urbanmmcl.yaml").write_text("name: mine\n")
    assert recipes.find("urbanmmcl.yaml").resolve() == tmp_path / "urbanmmcl.yaml", "a file comes before a shipped name"
    (tmp_path / "urbanmmcl").write_text("a note of mine")
    assert recipes.find("urbanmmcl") == tmp_path / "recipes" / "urbanmmcl.yaml"
