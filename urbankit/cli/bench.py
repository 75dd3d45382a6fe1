"""`urbankit bench`"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from urbankit.bench.suite import Plan


def bench(
    suite: Annotated[
        str, typer.Argument(metavar="SUITE", help="A suite file, or the name of a shipped suite: paper-tables.")
    ],
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="Folder to write; default runs/SUITE.")] = None,
    jobs: Annotated[int, typer.Option(min=1, help="Runs at a time, which share the processors.")] = 1,
    only: Annotated[
        list[str] | None, typer.Option(metavar="ROW", help="Run this row alone; may be given many times.")
    ] = None,
    city: Annotated[
        list[str] | None, typer.Option(metavar="CITY", help="Run on this city alone; may be given many times.")
    ] = None,
    data: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder that holds one folder of sources a city, by its name.")
    ] = None,
    sets: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="A.B=C", help="Change one value of the suite; may be given many times."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check everything, print the runs, then stop.")] = False,
) -> None:
    """Run a suite, recipes × cities × seeds, and make its tables; the same command again goes on with what is missing.

    [bold]urbankit bench paper-tables --jobs 2[/bold]

    [bold]urbankit bench real-cities --data DATA --city new-york --set overrides.pretrain.epochs=5[/bold]
    """
    from urbankit.bench.suite import load_plan

    plan = load_plan(suite, sets or [], data, city or [])
    folder = out or Path("runs", plan.name)
    if dry_run:
        _show(plan, only or [], folder)
        return
    from urbankit.bench.run import run_suite
    from urbankit.cli.output import console
    from urbankit.tables.terminal import show
    from urbankit.utils.errors import Problem, RunError

    finished = run_suite(plan, folder, jobs=jobs, rows=only or [])
    for tables in finished.tables.values():
        show(tables, console())
    console().print(f"Tables are in {folder / 'tables'}, numbers in {folder / 'results.parquet'}", markup=False)
    if finished.failures:
        raise RunError([Problem(str(failure)) for failure in finished.failures])


def _show(plan: Plan, only: list[str], folder: Path) -> None:
    """Print what would be run."""
    from urbankit.cli.output import console, print_table

    cells = plan.only(only)
    rows: dict[tuple[str, str], list[int]] = {}
    for cell in cells:
        rows.setdefault((cell.row, cell.city), []).append(cell.seed)
    recipes = {(cell.row, cell.city): cell for cell in cells}
    print_table(
        f"runs of {plan.name}",
        ("row", "city", "recipe", "method", "seeds"),
        [
            (row, city or "its own", recipes[row, city].source, recipes[row, city].recipe.method.name, str(seeds)[1:-1])
            for (row, city), seeds in rows.items()
        ],
    )
    print_table(
        "tables",
        ("name", "rows", "reference"),
        [(name, str(len(table.rows or [])), table.reference or "") for name, table in plan.suite.tables.items()],
    )
    console().print(f"{len(cells)} runs into {folder}; what is there already is kept", markup=False)
