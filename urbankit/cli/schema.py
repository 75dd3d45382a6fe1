"""`urbankit schema`"""

from __future__ import annotations

from typing import Annotated

import typer


def schema(
    city: Annotated[bool, typer.Option("--city", help="The schema of city.yaml instead of a recipe's.")] = False,
) -> None:
    """Print the JSON Schema of recipes, with the installed components, for an editor to complete and check.

    [bold]urbankit schema > recipe.schema.json[/bold]
    """
    from urbankit.cli.output import print_json

    if city:
        from urbankit.city.spec import CitySpec

        print_json(CitySpec.model_json_schema())
        return
    from urbankit.recipe.json_schema import recipe_schema

    print_json(recipe_schema())
