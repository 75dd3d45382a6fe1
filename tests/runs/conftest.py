"""The runs that reports are tested on."""

from helpers.report_runs import make_run

__all__ = ["make_run"]
