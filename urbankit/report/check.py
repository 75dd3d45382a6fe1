"""What only the city and the installation can say of a recipe's `report`, before anything is computed."""

from __future__ import annotations

from importlib.util import find_spec

from urbankit.city.city import City
from urbankit.recipe.schema import Report
from urbankit.utils.errors import Problem, Problems, suggest

NO_UMAP = "UMAP is not installed: pip install urbankit[umap]"


def check_report(report: Report, city: City) -> None:
    """Raise `UserError` with every id that is no region of the city, and for a projection that is not installed."""
    problems, known = Problems(), set(city.region_ids)
    for key in ("anchors", "cases"):
        asked = getattr(report, key) or []
        for place, region in enumerate(asked):
            here = f"report.{key}.{place}"
            if region not in known:
                near = suggest(region, sorted(known)[:10_000])
                problems.add(f"the city '{city.name}' has no region '{region}'.{near}", key=here)
            elif region in asked[:place]:
                problems.add(f"region '{region}' stands here twice", key=here)
    if report.figures and report.projection == "umap" and find_spec("umap") is None:
        problems.extend([Problem(NO_UMAP, key="report.projection")])
    problems.raise_if_any()
