"""Draws all figures of a run into its folder `figures`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from urbankit import registry
from urbankit.registry.component import Use
from urbankit.report.figures.base import Figure
from urbankit.report.figures.context import FigureContext
from urbankit.report.figures.errors import NotPossible
from urbankit.report.style import Drawing, style
from urbankit.runs.context import RunContext
from urbankit.runs.folder import Run
from urbankit.utils.errors import RunError, UserError
from urbankit.utils.files import read_json, write_json
from urbankit.utils.removal import remove_files


class Figures(NamedTuple):
    """The drawn figures, and a sentence for each figure that could not be drawn."""

    drawn: list[Drawing]
    left_out: list[str]

    def save(self, folder: Path) -> None:
        """Write `captions.json` beside the figures."""
        drawn = [{"file": drawing.png.name, "caption": drawing.caption} for drawing in self.drawn]
        write_json(folder / "captions.json", {"drawn": drawn, "left_out": self.left_out})

    @classmethod
    def load(cls, folder: Path) -> Figures:
        """Read what `save` wrote; no figures if there is no file."""
        if not (folder / "captions.json").is_file():
            return cls([], ["No figures were drawn (report.figures: false)."])
        captions = read_json(folder / "captions.json")
        # The name alone: a run folder that came from elsewhere names no file outside of itself.
        drawn = [Drawing(folder / Path(drawing["file"]).name, drawing["caption"]) for drawing in captions["drawn"]]
        return cls(drawn, captions["left_out"])


def draw_all(run_context: RunContext, others: Sequence[Run] = ()) -> Figures:
    """Draw all figures of a run into its folder `figures`, as PNG and PDF, with their captions in `captions.json`.

    Figures of an earlier call that are no longer drawn are removed; other files in the folder are not touched.

    Args:
        run_context: The run and its city.
        others: Runs on the same city, such as ablations, for the case study to compare with.

    Returns:
        The drawn figures, and a sentence for each figure that is not possible for this run or that failed.
    """
    context = FigureContext(run_context, others)
    figures = Figures([], [])
    with style():
        for figure in _figures(figures.left_out):
            try:
                for one in figure.draw(context):
                    if isinstance(one, Drawing):
                        figures.drawn.append(one)
                    else:
                        figures.left_out.append(f"No {figure.title}: {one}.")
            except (NotPossible, UserError, RunError) as reason:
                figures.left_out.append(f"No {figure.title}: {str(reason).rstrip('.')}.")
            except Exception as error:  # a figure that fails must not fail the run
                figures.left_out.append(f"No {figure.title}: drawing failed ({type(error).__name__}: {error}).")
    _remove_stale(context.folder, {drawing.png.name for drawing in figures.drawn})
    figures.save(context.folder)
    return figures


def _figures(left_out: list[str]) -> list[Figure]:
    """Every registered figure, in their order; one that does not load is noted in `left_out`."""
    figures: list[Figure] = []
    for name in registry.names("figure"):
        try:
            figures.append(registry.create("figure", Use(name=name)))
        except UserError as error:
            left_out.append(f"No figure {name}: {str(error).rstrip('.')}.")
    return sorted(figures, key=lambda figure: figure.order)


def _remove_stale(folder: Path, drawn: set[str]) -> None:
    stale = {drawing.png.name for drawing in Figures.load(folder).drawn} - drawn
    remove_files(folder, [str(Path(name).with_suffix(suffix)) for name in stale for suffix in (".png", ".pdf")])
