"""The command `urbankit clusters`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def clusters(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.")],
    k: Annotated[int, typer.Option("-k", min=1, metavar="N", help="Number of clusters.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Also write the cluster of every region as CSV.")
    ] = None,
) -> None:
    """Cluster the regions by their embeddings: sizes, targets and typical regions of each cluster.

    [bold]urbankit clusters runs/ny -k 5 --out clusters.csv[/bold]
    """
    from urbankit.analysis import queries
    from urbankit.cli.output import figure, plain_json, print_json, print_table, units, warn, with_units
    from urbankit.runs.context import RunContext
    from urbankit.runs.folder import Run
    from urbankit.utils.files import atomic_path

    opened = Run.open(run)
    opened.vectors  # noqa: B018  an error for a run without embeddings, before its city is opened
    context = RunContext.of(opened, prepare=False)
    result = queries.clusters(context, k)
    if out is not None:
        with atomic_path(out) as temporary:
            result.regions.to_csv(temporary, index=False, encoding="utf-8", lineterminator="\n")
    if as_json:
        members = result.regions.groupby("cluster")["region_id"].apply(list)
        rows = [{**plain_json(row), "regions": members[row["cluster"]]} for row in result.summary.to_dict("records")]
        print_json({"k": k, "clusters": rows, "units": units(context), "missing": context.missing})
        return
    table = result.summary.assign(examples=[", ".join(ids) for ids in result.summary["examples"]])
    print_table(
        "",
        with_units(table.columns, context),
        [[figure(value) for value in row] for row in table.itertuples(index=False)],
    )
    if len(table) < k:
        warn([f"Only {len(table)} clusters: regions with equal embeddings stay together."])
    warn(context.missing)
