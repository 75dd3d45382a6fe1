"""The command `urbankit new-plugin`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from urbankit.registry.kinds import KINDS


def new_plugin(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="The name of the components; the package is urbankit-NAME.")
    ],
    kinds: Annotated[
        list[str],
        typer.Option(
            "--kind",
            metavar="KIND",
            help="The kind of component; repeat it for a package of several: "
            f"{', '.join(kind.template for kind in KINDS.values() if kind.example)}.",
        ),
    ],
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="Folder to write; default urbankit-NAME.")] = None,
) -> None:
    """Write a plugin package with a component of each kind, tests, and recipes that use them.

    [bold]urbankit new-plugin metro --kind view --kind modality && pip install -e urbankit-metro[/bold]
    """
    from urbankit.new_plugin import commands_for
    from urbankit.new_plugin import new_plugin as write

    folder = write(name, kinds, out)
    path = Path(folder.name) if folder.parent == Path.cwd() else folder
    typer.echo(f"The package is in {path}. Next:")
    for command in (f'pip install -e "{path}[test]"', f"pytest {path}", *commands_for(kinds, name, path)):
        typer.echo(f"  {command}")
