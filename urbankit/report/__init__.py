"""Reports of a run: figures, a self-contained HTML page, and a model card."""

from urbankit.report.figures import draw_all
from urbankit.report.page import write_report

__all__ = ["draw_all", "write_report"]
