"""`urbankit export`"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def export(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.")],
    to: Annotated[
        list[str],
        typer.Option(metavar="FORMAT", help="gpkg, geoparquet, csv, npy or geotiff; may be given many times."),
    ],
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="Folder to write; default RUN/export.")] = None,
    what: Annotated[
        str | None,
        typer.Option(metavar="WHAT", help="embeddings, predictions, or both with a comma; default all that there is."),
    ] = None,
    resolution: Annotated[
        float | None,
        typer.Option(metavar="METRES", help="Side of a raster's cells; default a quarter of a median region's."),
    ] = None,
    crs: Annotated[str | None, typer.Option(metavar="CRS", help="Such as EPSG:4326; default the run's own.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace files that no export wrote.")] = False,
) -> None:
    """Write a run's embeddings and predictions for other tools: GIS, pandas, R, NumPy, raster benchmarks.

    [bold]urbankit export runs/ny --to gpkg --to csv[/bold]

    [bold]urbankit export runs/ny --to geotiff --what embeddings --resolution 100 --crs EPSG:4326[/bold]
    """
    from urbankit.cli.output import console
    from urbankit.export.export import export as export_run
    from urbankit.runs.folder import Run

    written = export_run(Run.open(run), to, out=out, what=what, crs=crs, resolution=resolution, force=force)
    for path, notes in written:
        console().print(f"{path}", markup=False, soft_wrap=True)
        for note in notes:
            console().print(f"  {note}", markup=False, soft_wrap=True)
