"""CSV, for spreadsheets, R and everything else; centroids stand for the geometry."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from urbankit.export.tables import Contents
from urbankit.utils.files import atomic_path
from urbankit.utils.geometry import lonlat


def write(contents: Contents, paths: Sequence[Path], resolution: float | None) -> list[str]:
    """`region_id`, centroids `lon` and `lat` in degrees (WGS 84), then the columns; UTF-8, a missing value is empty."""
    [path] = paths
    place = pd.DataFrame(lonlat(contents.frame.geometry).round(7), columns=["lon", "lat"])
    table = pd.concat([contents.frame[["region_id"]], place, contents.frame[contents.columns]], axis=1)
    with atomic_path(path) as temporary:
        table.to_csv(temporary, index=False, encoding="utf-8", lineterminator="\n")
    return []
