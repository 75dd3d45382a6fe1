"""`urbankit demo`"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def demo(
    regions: Annotated[int, typer.Option(min=1, help="How many regions.")] = 400,
    seed: Annotated[int, typer.Option(min=0, help="Which city of this size.")] = 7,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder to write the sources to.")] = Path("demo"),
) -> None:
    """Write the synthetic city as raw sources, with the city.yaml that prepares them.

    [bold]urbankit demo --regions 900 --out demo && urbankit prepare demo/city.yaml[/bold]
    """
    from urbankit.datasets.synthetic import write_demo
    from urbankit.utils.progress import Progress

    with Progress() as progress:
        write_demo(out, regions, seed, progress=progress)
    typer.echo(f"The sources of {regions} regions are in {out}. Next: urbankit prepare {out / 'city.yaml'}")
