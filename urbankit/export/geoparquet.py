"""GeoParquet, for geopandas, DuckDB and QGIS."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from urbankit.export.tables import ExportTable
from urbankit.utils.files import atomic_path


def write(table: ExportTable, paths: Sequence[Path], resolution: float | None) -> list[str]:
    """One row a region, geometry as WKB with its CRS."""
    [path] = paths
    with atomic_path(path) as temporary:
        table.frame.to_parquet(temporary, index=False)
    return []
