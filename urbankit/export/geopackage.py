"""GeoPackage, for QGIS and every other GIS."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from urbankit.export.base import Exporter
from urbankit.export.tables import ExportTable
from urbankit.utils.errors import UserError
from urbankit.utils.files import atomic_path, replace_file

MOST_COLUMNS = 1998
"""SQLite holds 2,000 columns a table; a GeoPackage needs one for the key and one for the geometry."""


class GeoPackage(Exporter):
    """GeoPackage, for QGIS and every other GIS."""

    files = ("{what}.gpkg",)

    def write(self, table: ExportTable, paths: Sequence[Path]) -> list[str]:
        """One layer, named after what it holds, with a field for each column."""
        [path] = paths
        if len(table.columns) + 1 > MOST_COLUMNS:
            raise UserError(
                f"{len(table.columns):,} columns are more than a GeoPackage holds ({MOST_COLUMNS - 1:,}); "
                "use --to geoparquet"
            )
        with atomic_path(path) as temporary:
            new = temporary.with_suffix(".new.gpkg")  # GDAL refuses an empty file
            table.frame.to_file(new, driver="GPKG", layer=table.what, engine="pyogrio")
            replace_file(new, temporary)
        return []
