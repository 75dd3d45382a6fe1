"""Write the report of a finished run again."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from urbankit.report.card import write_card
from urbankit.report.figures import draw_all
from urbankit.report.page import Written, write_report
from urbankit.runs.context import RunContext
from urbankit.runs.folder import Run
from urbankit.utils.progress import Progress


def rewrite_report(
    run: Run,
    out: Path | None = None,
    *,
    figures: bool = True,
    beside: Sequence[Run] = (),
    progress: Progress | None = None,
) -> Written:
    """Write the page, figures and model card of a run again.

    Args:
        run: The run.
        out: The file of the page, by default `report.html` in the run's folder.
        figures: Whether figures are drawn again. Most need the city; without it the existing figures remain.
        beside: Runs on the same city, such as ablations, to show in the case study.
        progress: Where progress is shown.

    Returns:
        The path of the page, and sentences on what it could not show.
    """
    context = RunContext.of(run, progress=progress)
    if figures and context.city is None and (run.path / "figures" / "captions.json").is_file():
        context.missing.append("The figures are from an earlier report, because drawing them needs the city.")
    elif figures:
        draw_all(context, list(beside))
    if context.city is not None and run.status == "done":
        write_card(run, context.city, context.tasks)
    return write_report(context, out)
