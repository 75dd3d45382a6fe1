"""The command `urbankit demo`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def demo(
    regions: Annotated[int, typer.Option(min=1, help="Number of regions.")] = 400,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the city.")] = 7,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder to write the sources to.")] = Path("demo"),
) -> None:
    """Write the sources of the synthetic city, with the city.yaml to prepare them.

    [bold]urbankit demo --regions 900 --out demo && urbankit prepare demo/city.yaml[/bold]
    """
    from urbankit.datasets.synthetic import write_demo
    from urbankit.utils.progress import Progress

    with Progress() as progress:
        write_demo(out, regions, seed, progress=progress)
    typer.echo(f"The sources of {regions} regions are in {out}. Next: urbankit prepare {out / 'city.yaml'}")
