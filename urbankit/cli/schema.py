"""The command `urbankit schema`."""

from __future__ import annotations

from typing import Annotated

import typer


def schema(
    city: Annotated[bool, typer.Option("--city", help="Print the schema of city.yaml instead.")] = False,
) -> None:
    """Print the JSON Schema of recipes, with the installed components, for completion and checks in editors.

    [bold]urbankit schema > recipe.schema.json[/bold]
    """
    from urbankit.cli.output import print_json

    if city:
        from urbankit.city.spec import city_spec

        print_json(city_spec().model_json_schema())
        return
    from urbankit.recipe.json_schema import recipe_schema

    print_json(recipe_schema())
