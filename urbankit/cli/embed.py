"""The command `urbankit embed`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

STATISTICS = (
    "Whose means and standard deviations standardise inputs: those of CITY (own), or of the model's city (source)."
)

CityData = Annotated[Path | None, typer.Option(metavar="DIR", help="Folder of the sources, if CITY is a city file.")]
AllowMissing = Annotated[
    bool,
    typer.Option("--allow-missing", help="Continue if CITY lacks a modality or view that the model reads."),
]
CityChanges = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="A.B=C",
        help="Change one value of the recipe, such as an image source in CITY: modalities.rsi.source=satellite.",
    ),
]


def embed(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="A folder or name of a model, or a run folder.")],
    city: Annotated[Path, typer.Argument(metavar="CITY", help="A prepared city, or a city file.")],
    out: Annotated[Path, typer.Option(metavar="FILE", help="The GeoParquet file to write.")] = Path(
        "embeddings.parquet"
    ),
    data: CityData = None,
    statistics: Annotated[Literal["source", "own"], typer.Option(help=STATISTICS)] = "own",
    allow_missing: AllowMissing = False,
    sets: CityChanges = None,
    force: Annotated[bool, typer.Option("--force", help="Replace FILE if it exists.")] = False,
) -> None:
    """Embed the regions of another city with a trained model. Nothing is trained, and no label is read.

    [bold]urbankit embed models/singapore cities/mumbai --out mumbai.parquet[/bold]

    `urbankit list-components --kind model` lists the installed models. A folder of the same name is used first.
    """
    from urbankit.cli.output import console, warn
    from urbankit.pipeline.model import Model, as_city
    from urbankit.runs.writers import write_embedding_file
    from urbankit.utils.progress import Progress
    from urbankit.utils.written import check_new

    check_new(out, "--out", force)
    opened = Model.open(model)
    with Progress() as progress:
        prepared = as_city(city, progress, data)
        vectors, notes = opened.vectors(prepared, statistics, tuple(sets or ()), allow_missing)
    write_embedding_file(out, prepared, vectors)
    warn(notes)
    console().print(f"{len(vectors)} regions, {vectors.shape[1]} numbers each: {out}", markup=False, soft_wrap=True)
