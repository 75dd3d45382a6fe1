"""The command `urbankit validate`."""

from __future__ import annotations

import typer

from urbankit.cli.run import Changes, RecipeName


def validate(recipe: RecipeName, sets: Changes = None) -> None:
    """Check a recipe and its components; all mistakes are listed with file and line.

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
    typer.echo(f"{checked.name} is a valid recipe ({listed})")
