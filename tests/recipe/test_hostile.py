"""Recipes that try to exhaust memory or time, or to write elsewhere, are one message."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from urbankit.recipe.recipe import Recipe
from urbankit.utils.errors import UserError, suggest

RECIPE: dict[str, Any] = {
    "city": {"demo": {"regions": 50}},
    "modalities": {"location": {"name": "coordinates"}},
    "method": {"name": "urbanmmcl"},
}


def load(tmp_path: Path, text: str = "", **changes: Any) -> Recipe:
    file = tmp_path / "r.yaml"
    file.write_text(yaml.safe_dump(RECIPE | changes) + text)
    return Recipe.load(file)


@pytest.mark.parametrize("name", ["../../evil", "/tmp/evil", "..", ".", "a/b", "a\\b", "a\nb", "x" * 300, ""])
def test_a_name_that_leaves_the_folder_of_runs_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError, match=r"r\.yaml:\d+: name: "):
        load(tmp_path, name=name)


@pytest.mark.parametrize(
    "text",
    [
        "seed: 18446744073709551617\n",
        "seed: 4294967296\n",
        "seed: " + "9" * 10_000 + "\n",
        "seed: !!int x\n",
        "seed: !!python/object:os.system x\n",
        "pretrain: {learning_rate: .inf}\n",
        "pretrain: {learning_rate: .nan}\n",
        "pretrain: {epochs: 1e300}\n",
        'description: "\\0"\n',
        'description: "\\ud800"\n',
        '"\\ud800": 1\n',
        "description: " + "[" * 3000 + "\n",
        "evaluation: {seeds: [18446744073709551616]}\n",
        "tasks: {" + ", ".join(f"t{i}: {{}}" for i in range(30_000)) + "}\n",
        "".join(f"unknown{i}: 1\n" for i in range(5_000)),
    ],
)
def test_a_value_beyond_all_bounds_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(UserError) as error:
        load(tmp_path, text)
    assert "r.yaml" in str(error.value)


def test_a_long_chain_of_recipes_is_refused(tmp_path: Path) -> None:
    (tmp_path / "0.yaml").write_text(yaml.safe_dump(RECIPE))
    for i in range(1, 1500):
        (tmp_path / f"{i}.yaml").write_text(f"extends: {i - 1}.yaml\n")
    with pytest.raises(UserError, match="more than 50 recipes extend each other"):
        Recipe.load(tmp_path / "1499.yaml")
    assert Recipe.load(tmp_path / "20.yaml").method.name == "urbanmmcl"


def test_suggestions_are_bounded() -> None:
    assert len(suggest("x", (f"name{i}" for i in range(100_000)))) < 2000
    assert suggest("x" * 1_000_000, ["a"]) == " Known: a."
