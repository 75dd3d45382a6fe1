"""FlatGeobuf, which web maps read in parts."""

from __future__ import annotations

from typing import Any

from urbankit.export.tables import ExportTable
from urbankit.export.vector_file import VectorFile


class FlatGeobuf(VectorFile):
    """FlatGeobuf, for web maps and QGIS. Its spatial index sorts the regions by location."""

    files = ("{what}.fgb",)
    driver = "FlatGeobuf"

    def options(self, table: ExportTable) -> dict[str, Any]:
        """Leave out the index where a region has no geometry, which an index cannot hold."""
        shapes = table.frame.geometry
        return {"SPATIAL_INDEX": "NO" if (shapes.isna() | shapes.is_empty).any() else "YES"}
