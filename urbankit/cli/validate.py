"""The command `urbankit validate`."""

from __future__ import annotations

import typer

from urbankit.cli.run import Changes, RecipeName, print_matches


def validate(recipe: RecipeName, sets: Changes = None) -> None:
    """Check a recipe, its components, and whether its city has the targets, with ids that match the regions.

    All mistakes are listed with file and line. A city is compared if its files exist.

    [bold]urbankit validate recipes/urbanmmcl.yaml --set method.dim=32[/bold]
    """
    from urbankit.recipe import Recipe

    checked = Recipe.load(recipe, sets or [])
    sections = {
        "modalities": ", ".join(checked.modalities),
        "views": ", ".join(checked.views),
        "method": checked.method.name,
        "tasks": ", ".join(checked.tasks),
    }
    listed = "; ".join(f"{name}: {value or 'none'}" for name, value in sections.items())
    print_matches(checked)
    typer.echo(f"{checked.name} is a valid recipe ({listed})")
