"""The models of the census tracts of US counties."""

from __future__ import annotations

from pathlib import Path

from urbankit.registry.models import PackagedModel


class UsTracts(PackagedModel):
    """Embeds regions by points of interest, commuting flows and shapes, and predicts eight census targets.

    It was trained on 4,729 census tracts of 30 US counties, with `recipes/us-tracts.yaml`. Its README has its scores.
    """

    folder = Path(__file__).parent / "us-tracts"
    licence = "Apache-2.0; trained on OpenStreetMap data under ODbL 1.0, which asks for attribution"
    attribution = (
        "OpenStreetMap contributors (points of interest, ODbL 1.0); US Census Bureau (American Community Survey and"
        " LODES, 2018); collected by CommutingODGen"
    )


class UsTractsNoFlows(UsTracts):
    """Embeds regions by points of interest and shapes alone, and predicts the same targets; for cities without flows.

    It was trained on the same tracts, with `recipes/us-tracts-no-flows.yaml`. Its README has its scores.
    """

    folder = Path(__file__).parent / "us-tracts-no-flows"
