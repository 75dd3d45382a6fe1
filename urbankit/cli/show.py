"""The command `urbankit show`."""

from __future__ import annotations

from typing import Annotated

import typer


def show(
    kind: Annotated[str, typer.Argument(help="Kind of component, such as `view` or `method`.")],
    name: Annotated[str, typer.Argument(help="Name of the component; see `urbankit list-components`.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show the parameters of a component: type, default, bounds, description and source.

    [bold]urbankit show method urbanmmcl[/bold]
    """
    import inspect

    from urbankit import registry
    from urbankit.cli.output import console, print_json, print_table
    from urbankit.recipe.describe import describe

    kind = registry.full_name(kind)
    component = registry.get(kind, name)
    entry = next(entry for entry in registry.entries(kind) if entry.name == name)
    parameters = describe(component.Params)
    details = dict(component.details()) if hasattr(component, "details") else {}
    about = inspect.getdoc(component) or entry.description
    if as_json:
        print_json(
            {
                "kind": kind,
                "name": name,
                "distribution": entry.distribution,
                "version": entry.version,
                "class": entry.target,
                "about": about,
                "details": details,
                "parameters": parameters,
            }
        )
        return
    console().print(f"{kind} {name}  ({entry.origin}, {entry.target})\n\n{about}\n", markup=False)
    if details:
        print_table("", ("", ""), [[name, value] for name, value in details.items()])
    if not parameters:
        console().print("It takes no parameters.")
        return
    columns = ("parameter", "type", "default", "bounds", "description", "source")
    rows = [[str(p[key] if p[key] is not None else "") for key in ("name", *columns[1:])] for p in parameters]
    print_table("", columns, rows)
