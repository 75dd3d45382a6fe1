"""What a run shows of itself: figures and one self-contained page."""

from urbankit.report.figures import draw_all
from urbankit.report.page import write_report

__all__ = ["draw_all", "write_report"]
