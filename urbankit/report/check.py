"""Checks of a recipe's `report` against the city and the installed packages, before a run computes anything."""

from __future__ import annotations

from importlib.util import find_spec

from urbankit.city.city import City
from urbankit.recipe.schema import Report
from urbankit.utils.errors import Problem, Problems, suggest

NO_UMAP = "UMAP is not installed: pip install urbankit[umap]"


def check_report(report: Report, city: City) -> None:
    """Raise UserError for ids that are no regions of the city, and for a projection that is not installed."""
    problems, region_ids = Problems(), set(city.region_ids)
    for key in ("anchors", "cases"):
        requested = getattr(report, key) or []
        for index, region in enumerate(requested):
            key_path = f"report.{key}[{index}]"
            if region not in region_ids:
                near = suggest(region, sorted(region_ids)[:10_000])
                problems.add(f"the city '{city.name}' has no region '{region}'.{near}", key=key_path)
            elif region in requested[:index]:
                problems.add(f"region '{region}' is listed twice", key=key_path)
    if report.figures and report.projection == "umap" and find_spec("umap") is None:
        problems.extend([Problem(NO_UMAP, key="report.projection")])
    problems.raise_if_any()
