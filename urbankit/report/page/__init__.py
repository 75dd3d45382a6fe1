"""The page of a run, `report.html`, and the page that compares several: one file each, which needs nothing beside it.

Python puts together what is shown (`sections`, `explorer`); the script and style in `assets` are joined into the file.
"""

from urbankit.report.page.builder import Written
from urbankit.report.page.compare import write_comparison
from urbankit.report.page.write import write_report

__all__ = ["Written", "write_comparison", "write_report"]
