"""GeoParquet, for geopandas, DuckDB and QGIS."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from urbankit.export.base import Exporter
from urbankit.export.tables import ExportTable
from urbankit.utils.files import atomic_path


class GeoParquet(Exporter):
    """GeoParquet, for geopandas, DuckDB and QGIS."""

    files = ("{what}.parquet",)

    def write(self, table: ExportTable, paths: Sequence[Path]) -> list[str]:
        """One row for each region, geometry as WKB with its CRS; without geometry, a plain Parquet table."""
        [path] = paths
        with atomic_path(path) as temporary:
            frame = table.frame if table.has_geometry else pd.DataFrame(table.frame.drop(columns="geometry"))
            frame.to_parquet(temporary, index=False)
        return []
