"""GeoPackage, for QGIS and every other GIS."""

from __future__ import annotations

from urbankit.export.tables import ExportTable
from urbankit.export.vector_file import VectorFile
from urbankit.utils.errors import UserError

MOST_COLUMNS = 1998
"""SQLite holds 2,000 columns a table; a GeoPackage needs one for the key and one for the geometry."""


class GeoPackage(VectorFile):
    """GeoPackage, for QGIS and every other GIS."""

    files = ("{what}.gpkg",)
    driver = "GPKG"

    def check(self, table: ExportTable) -> None:
        if len(table.columns) + 1 > MOST_COLUMNS:
            raise UserError(
                f"{len(table.columns):,} columns are more than a GeoPackage holds ({MOST_COLUMNS - 1:,}); "
                "use --to geoparquet"
            )
