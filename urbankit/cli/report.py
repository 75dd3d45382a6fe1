"""The command `urbankit report`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from urbankit.report.page import Written
    from urbankit.runs.context import RunContext
    from urbankit.runs.folder import Run


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
    """Write the report of a run again, with its figures and model card, or a page that compares several runs.

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
    from urbankit.report import write_report
    from urbankit.report.card import write_card
    from urbankit.runs.context import RunContext
    from urbankit.runs.folder import Run
    from urbankit.utils.progress import Progress

    with Progress() as progress:
        context = RunContext.of(Run.open(path), progress=progress)
        if figures:
            _draw(context, [Run.open(other) for other in beside])
        if context.city is not None and context.run.status == "done":
            write_card(context.run, context.city)
        return write_report(context, out)


def _draw(context: RunContext, others: list[Run]) -> None:
    """Draw the figures again. Most figures need the city; without it the existing figures remain."""
    from urbankit.report import draw_all

    if context.city is None and (context.run.path / "figures" / "captions.json").is_file():
        context.missing.append("The figures are from an earlier report, because drawing them needs the city.")
        return
    draw_all(context, others)


def _several(paths: list[Path], names: list[str], out: Path | None) -> Written:
    from urbankit.report.page import write_comparison

    return write_comparison(paths, names, out or Path("compare.html"))
