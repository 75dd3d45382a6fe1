"""What a run shows of itself: figures and one self-contained page."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from urbankit.city.city import City
    from urbankit.runfolder import Run


def write_all(run: Run, city: City, *, figures: bool = True) -> Path:
    """Draw the figures into `figures/` (unless `figures` is False) and write `report.html`; its path."""
    from urbankit.report.figures import Figures, draw_all
    from urbankit.report.html import write_report

    drawn = draw_all(run, city) if figures else Figures([], ["The recipe asks for no figures (report.figures: false)."])
    return write_report(run, city, drawn)
