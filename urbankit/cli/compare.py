"""The command `urbankit compare`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def compare(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Run folders; the last is the reference.")],
    names: Annotated[
        list[str] | None,
        typer.Option(
            "--name",
            metavar="NAME",
            help="The name of a run, one for each; runs with the same name are seeds of one row.",
        ),
    ] = None,
    markdown: Annotated[Path | None, typer.Option(metavar="FILE", help="Also write the tables as Markdown.")] = None,
    latex: Annotated[Path | None, typer.Option(metavar="FILE", help="Also write the tables as LaTeX.")] = None,
) -> None:
    """Compare runs: mean ± standard deviation, best and second best, improvement, significance.

    [bold]urbankit compare runs/no-text runs/urbanmmcl --name "w/o text" --name UrbanMMCL --latex table.tex[/bold]
    """
    from urbankit.cli.output import console
    from urbankit.runs.compare import compare_runs
    from urbankit.tables.latex import latex as as_latex
    from urbankit.tables.markdown import markdown as as_markdown
    from urbankit.tables.terminal import show
    from urbankit.utils.written import check_replaceable, write_own

    for path in (markdown, latex):
        if path is not None:
            check_replaceable(path)
    tables = compare_runs(runs, names or [])
    show(tables, console())
    for path, text in ((markdown, as_markdown), (latex, as_latex)):
        if path is not None:
            write_own(path, text(tables))
