"""The command `urbankit prepare`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def prepare(
    spec: Annotated[Path, typer.Argument(metavar="CITY.yaml", help="The city file, which names sources and targets.")],
    data: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder of the sources; default the folder of CITY.yaml.")
    ] = None,
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="Folder to write; default cities/NAME.")] = None,
) -> None:
    """Align the sources of a city to its regions, and report matches, gaps and suspicious values.

    [bold]urbankit prepare cities/new-york.yaml --data DATA/new-york[/bold]
    """
    from urbankit.city.city import City
    from urbankit.city.prepare.prepare import prepare as prepare_city
    from urbankit.cli.output import console
    from urbankit.utils.progress import Progress

    with Progress() as progress:
        city = City.open(prepare_city(spec, data=data, out=out, progress=progress))
    console().print(city.report)
    console().print(f"The city is in {city.path}", markup=False, soft_wrap=True)
