"""Exporters of vector files that GDAL writes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from urbankit.export.base import Exporter
from urbankit.export.tables import ExportTable
from urbankit.utils.files import atomic_path, replace_file


class VectorFile(Exporter):
    """One layer of polygons, named after what it holds, with a field for each column.

    Attributes:
        driver: The name of GDAL's driver.
    """

    driver: ClassVar[str]
    needs_geometry = True
    beside: ClassVar[tuple[str, ...]] = ("qml",)

    def write(self, table: ExportTable, paths: Sequence[Path]) -> list[str]:
        """Write the layer. Raises `UserError` if the format cannot hold it."""
        [path] = paths
        self.check(table)
        with atomic_path(path) as temporary:
            new = temporary.with_suffix(f".new{path.suffix}")  # GDAL refuses an empty file
            table.frame.to_file(new, driver=self.driver, layer=table.what, engine="pyogrio", **self.options(table))
            replace_file(new, temporary)
        return []

    def check(self, table: ExportTable) -> None:
        """Raise `UserError` if the format cannot hold the table."""

    def options(self, table: ExportTable) -> dict[str, Any]:
        """Return GDAL's options of the layer."""
        return {}
