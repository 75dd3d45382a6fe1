"""The command `urbankit new-plugin`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from urbankit.registry.kinds import KINDS


def new_plugin(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="The name of the component; the package is urbankit-NAME.")
    ],
    kind: Annotated[
        str,
        typer.Option(
            metavar="KIND",
            help=f"The kind of component: {', '.join(kind.template for kind in KINDS.values() if kind.example)}.",
        ),
    ],
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="Folder to write; default urbankit-NAME.")] = None,
) -> None:
    """Write a plugin package with one component, its tests and a recipe that uses it.

    [bold]urbankit new-plugin metro --kind view && pip install -e urbankit-metro[/bold]
    """
    from urbankit.new_plugin import command_for
    from urbankit.new_plugin import new_plugin as write

    folder = write(name, kind, out)
    path = Path(folder.name) if folder.parent == Path.cwd() else folder
    typer.echo(f"The package is in {path}. Next:")
    for command in (f'pip install -e "{path}[test]"', f"pytest {path}", command_for(kind, name, path)):
        typer.echo(f"  {command}")
