"""`urbankit neighbours`"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def neighbours(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.")],
    region: Annotated[str, typer.Argument(metavar="REGION", help="The id of a region.")],
    k: Annotated[int, typer.Option("-k", min=1, metavar="K", help="How many.")] = 5,
    view: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Compare only the embedding's part of this view or modality: poi."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """The regions most like one region, with how far away they are and their targets.

    [bold]urbankit neighbours runs/ny 36061000700 -k 10[/bold]
    """
    from urbankit.analysis import queries as answers
    from urbankit.cli.output import figure, plain_json, print_json, print_table, units, warn, with_units
    from urbankit.runs.context import RunContext
    from urbankit.runs.folder import Run

    opened = Run.open(run)
    opened.vectors  # noqa: B018  a run without embeddings says so before its city is looked for
    context = RunContext.of(opened, prepare=False)
    table = answers.neighbours(context, region, k, view)
    if as_json:
        rows = [plain_json(row) for row in table.to_dict("records")]
        found = {"region": rows[0], "view": view, "neighbours": rows[1:]}
        print_json({**found, "units": units(context), "missing": context.missing})
        return
    title = f"like {table['region_id'][0]}" + (f" in {view}" if view else "")
    cells = [[figure(value) for value in row] for row in table.itertuples(index=False)]
    print_table(title, ["region", "similarity", "km", *with_units(table.columns[3:], context)], cells)
    warn(context.missing)
