"""The runs that reports are tested on."""

from helpers.report_city import make_run

__all__ = ["make_run"]
