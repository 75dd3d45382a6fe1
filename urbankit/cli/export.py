"""The command `urbankit export`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def export(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.")],
    to: Annotated[
        list[str],
        typer.Option(
            metavar="FORMAT", help="gpkg, flatgeobuf, pmtiles, geoparquet, csv, npy, geotiff or others. Repeatable."
        ),
    ],
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="Folder to write; default RUN/export.")] = None,
    what: Annotated[
        str | None,
        typer.Option(
            metavar="WHAT",
            help="embeddings, predictions (of test regions) or predictions_all (of every region), with commas between;"
            " default all that the run has.",
        ),
    ] = None,
    resolution: Annotated[
        float | None,
        typer.Option(
            metavar="METRES", help="Side of the pixels of a raster; default a quarter of the side of a median region."
        ),
    ] = None,
    crs: Annotated[
        str | None, typer.Option(metavar="CRS", help="The CRS to write, such as EPSG:4326; default that of the run.")
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Also replace files that no export has written, or that have changed since.")
    ] = False,
) -> None:
    """Write the embeddings and predictions of a run for other tools: GIS, pandas, R, NumPy.

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
