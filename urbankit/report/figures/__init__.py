"""The figures of a run: PNG and PDF, at the widths of a journal's columns."""

from urbankit.report.figures.draw import Figures, draw_all

__all__ = ["Figures", "draw_all"]
