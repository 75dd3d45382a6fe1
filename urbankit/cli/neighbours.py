"""The command `urbankit neighbours`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def neighbours(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.")],
    region: Annotated[str, typer.Argument(metavar="REGION", help="The id of a region.")],
    k: Annotated[int, typer.Option("-k", min=1, metavar="K", help="Number of neighbours.")] = 5,
    view: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Compare only the block of this view or modality: poi."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List the regions most similar to a region, with distances and targets.

    [bold]urbankit neighbours runs/ny 36061000700 -k 10[/bold]
    """
    from urbankit.analysis import queries
    from urbankit.cli.output import figure, plain_json, print_json, print_table, units, warn, with_units
    from urbankit.runs.context import RunContext
    from urbankit.runs.folder import Run

    opened = Run.open(run)
    opened.vectors  # noqa: B018  an error for a run without embeddings, before its city is opened
    context = RunContext.of(opened, prepare=False)
    table = queries.neighbours(context, region, k, view)
    if as_json:
        rows = [plain_json(row) for row in table.to_dict("records")]
        print_json(
            {
                "region": rows[0],
                "view": view,
                "neighbours": rows[1:],
                "units": units(context),
                "missing": context.missing,
            }
        )
        return
    title = f"like {table['region_id'][0]}" + (f" in {view}" if view else "")
    cells = [[figure(value) for value in row] for row in table.itertuples(index=False)]
    print_table(title, ["region", "similarity", "km", *with_units(table.columns[3:], context)], cells)
    warn(context.missing)
