"""The command `urbankit report`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from urbankit.report.page import Written


def report(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="One run folder, or several to compare.")],
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="File to write; default RUN/report.html, or compare.html for several runs."),
    ] = None,
    names: Annotated[
        list[str] | None,
        typer.Option("--name", metavar="NAME", help="The name of a run, one for each; default the name of its folder."),
    ] = None,
    beside: Annotated[
        list[Path] | None,
        typer.Option(metavar="RUN", help="A run on the same city, such as an ablation, to show in the case study."),
    ] = None,
    figures: Annotated[
        bool, typer.Option("--figures/--no-figures", help="Also draw the figures of the run again.")
    ] = True,
) -> None:
    """Rewrite the report, figures and model card of a run, or write a page that compares several runs.

    [bold]urbankit report runs/new-york[/bold]

    [bold]urbankit report runs/new-york --beside runs/no-text[/bold]

    [bold]urbankit report runs/no-text runs/urbanmmcl --out compare.html[/bold]
    """
    from urbankit.cli.output import console
    from urbankit.utils.errors import UserError
    from urbankit.utils.written import check_replaceable

    if len(runs) == 1 and names:
        raise UserError("--name needs several runs; the report of one run shows the name of its recipe")
    if beside and (len(runs) > 1 or not figures):
        raise UserError("--beside needs exactly one run, and cannot be used with --no-figures")
    if out is not None:
        check_replaceable(out)
    written = _one(runs[0], out, figures, beside or []) if len(runs) == 1 else _several(runs, names or [], out)
    for sentence in written.missing:
        console().print(f"missing: {sentence}", markup=False, soft_wrap=True)
    console().print(f"The page is {written.path}", markup=False, soft_wrap=True)


def _one(path: Path, out: Path | None, figures: bool, beside: list[Path]) -> Written:
    from urbankit.report.rewrite import rewrite_report
    from urbankit.runs.folder import Run
    from urbankit.utils.progress import Progress

    with Progress() as progress:
        others = [Run.open(other) for other in beside]
        return rewrite_report(Run.open(path), out, figures=figures, beside=others, progress=progress)


def _several(paths: list[Path], names: list[str], out: Path | None) -> Written:
    from urbankit.report.page import write_comparison

    return write_comparison(paths, names, out or Path("compare.html"))
