"""The command `urbankit bench`."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from urbankit.bench.executors import Executor
    from urbankit.bench.suite import Plan


class Executors(str, Enum):
    """Where runs are computed."""

    local = "local"
    dask = "dask"
    slurm = "slurm"


def bench(
    suite: Annotated[
        str, typer.Argument(metavar="SUITE", help="A suite file, or the name of a shipped suite: paper-tables.")
    ],
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="Folder to write; default runs/SUITE.")] = None,
    jobs: Annotated[int, typer.Option(min=1, help="Number of parallel runs; they share the processors.")] = 1,
    only: Annotated[list[str] | None, typer.Option(metavar="ROW", help="Run only this row. Repeatable.")] = None,
    city: Annotated[list[str] | None, typer.Option(metavar="CITY", help="Run only on this city. Repeatable.")] = None,
    data: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder with one folder of sources per city.")
    ] = None,
    sets: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="A.B=C", help="Change one value of the suite. Repeatable."),
    ] = None,
    executor: Annotated[
        Executors, typer.Option(help="Where runs are computed: on this machine, a Dask cluster, or by SLURM.")
    ] = Executors.local,
    address: Annotated[str | None, typer.Option(metavar="ADDRESS", help="Dask: the address of the scheduler.")] = None,
    slurm: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY=VALUE", help="SLURM: a parameter of its jobs: partition=gpu. Repeatable."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check the suite, print its runs and stop.")] = False,
) -> None:
    """Run a suite (recipes × cities × seeds) and write its tables. Repeating the command runs only missing runs.

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

    where = _executor(executor, jobs, address, folder, slurm or [])
    finished = run_suite(plan, folder, rows=only or [], executor=where)
    for tables in finished.tables.values():
        show(tables, console())
    console().print(f"Tables are in {folder / 'tables'}, numbers in {folder / 'results.parquet'}", markup=False)
    if finished.failures:
        raise RunError([Problem(str(failure)) for failure in finished.failures])


def _executor(executor: Executors, jobs: int, address: str | None, folder: Path, slurm: list[str]) -> Executor:
    """The executor that the options name."""
    from urbankit.bench.dask_cluster import DaskCluster
    from urbankit.bench.executors import ThisMachine
    from urbankit.bench.slurm import Slurm
    from urbankit.utils.errors import UserError

    if (address is not None) != (executor is Executors.dask):
        raise UserError("--executor dask and --address, the address of the scheduler, belong together. Give both.")
    if slurm and executor is not Executors.slurm:
        raise UserError("--slurm is for --executor slurm. Leave it out, or give both.")
    if address is not None:
        return DaskCluster(address)
    return Slurm(folder / "slurm", slurm) if executor is Executors.slurm else ThisMachine(jobs)


def _show(plan: Plan, only: list[str], folder: Path) -> None:
    """Print the runs and tables of a suite."""
    from urbankit.cli.output import console, print_table

    runs = plan.select(only)
    rows: dict[tuple[str, str], list[int]] = {}
    for run in runs:
        rows.setdefault((run.row, run.city), []).append(run.seed)
    recipes = {(run.row, run.city): run for run in runs}
    print_table(
        f"runs of {plan.name}",
        ("row", "city", "recipe", "method", "seeds"),
        [
            (
                row,
                city or "of the recipe",
                recipes[row, city].source,
                recipes[row, city].recipe.method.name,
                str(seeds)[1:-1],
            )
            for (row, city), seeds in rows.items()
        ],
    )
    print_table(
        "tables",
        ("name", "rows", "reference"),
        [(name, str(len(table.rows or [])), table.reference or "") for name, table in plan.suite.tables.items()],
    )
    console().print(f"{len(runs)} runs into {folder}; finished runs are reused", markup=False)
