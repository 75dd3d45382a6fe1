"""CSV, for spreadsheets, R and everything else; centroids stand for the geometry."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from urbankit.export.base import Exporter
from urbankit.export.tables import ExportTable
from urbankit.utils.files import atomic_path
from urbankit.utils.geometry import lonlat


class CSV(Exporter):
    """CSV with centroids in place of geometries, for spreadsheets and R."""

    files = ("{what}.csv",)

    def write(self, table: ExportTable, paths: Sequence[Path]) -> list[str]:
        """`region_id`, centroids `lon` and `lat` in degrees (WGS 84), then the columns; UTF-8, missing values empty."""
        [path] = paths
        centroids = pd.DataFrame(lonlat(table.frame.geometry).round(7), columns=["lon", "lat"])
        columns = pd.concat([table.frame[["region_id"]], centroids, table.frame[table.columns]], axis=1)
        with atomic_path(path) as temporary:
            columns.to_csv(temporary, index=False, encoding="utf-8", lineterminator="\n")
        return []
