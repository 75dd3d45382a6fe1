"""The JSON Schema that editors check recipes with agrees with what urbankit accepts."""

from pathlib import Path

import jsonschema
import pytest
import yaml
from helpers.toys import RECIPE

from urbankit.recipe.json_schema import recipe_schema

SHIPPED = Path(__file__).parents[2] / "recipes"


@pytest.fixture
def validator(toy) -> jsonschema.Draft202012Validator:
    schema = recipe_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


@pytest.mark.parametrize(
    "text",
    [
        RECIPE,
        "extends: other.yaml\nviews: {ring: null}\nmethod: {dim: 3}\n",
        RECIPE.replace(
            "{name: toy_contrast}", "{name: toy_contrast, fusion: {name: toy_gate, after: {name: toy_sum}}}"
        ),
    ],
)
def test_schema_accepts_valid_recipes(validator, text: str) -> None:
    validator.validate(yaml.safe_load(text))


@pytest.mark.parametrize(
    "text",
    [
        RECIPE.replace("toy_ring", "toy_rong"),
        RECIPE.replace("{name: toy_ring}", "{name: toy_ring, neighbours: 0}"),
        RECIPE.replace("{name: toy_ring}", "{name: toy_ring, neighbors: 1}"),
        RECIPE.replace("{name: toy_contrast}", "{name: toy_contrast, fusion: {name: toy_gat}}"),
        RECIPE + "veiws: {}\n",
    ],
)
def test_schema_refuses_invalid_recipes(validator, text: str) -> None:
    with pytest.raises(jsonschema.ValidationError):
        validator.validate(yaml.safe_load(text))


# Those of baselines/ and plugins/ name components of packages of their own; cities/ and suites/ hold no recipes.
OTHERS = ("baselines", "cities", "plugins", "suites")
RECIPES = [path for path in sorted(SHIPPED.rglob("*.yaml")) if path.parent.name not in OTHERS]


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_schema_accepts_the_shipped_recipes(validator, path: Path) -> None:
    validator.validate(yaml.safe_load(path.read_text()))
