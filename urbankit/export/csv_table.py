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
        """`region_id`, centroids `lon` and `lat` in degrees (WGS 84), then the columns; UTF-8, missing values empty.

        Regions without geometry have no centroids.
        """
        [path] = paths
        columns = self._columns(table)
        with atomic_path(path) as temporary:
            columns.to_csv(temporary, index=False, encoding="utf-8", lineterminator="\n")
        return []

    def _columns(self, table: ExportTable) -> pd.DataFrame:
        if not table.has_geometry:
            return pd.DataFrame(table.frame[["region_id", *table.columns]])
        centroids = pd.DataFrame(lonlat(table.frame.geometry).round(7), columns=["lon", "lat"])
        return pd.concat([table.frame[["region_id"]], centroids, table.frame[table.columns]], axis=1)


class SpreadsheetCSV(CSV):
    """CSV of which no spreadsheet runs a text as a formula: an apostrophe before `=`, `+`, `-` and `@` prevents it."""

    files = ("{what}-spreadsheet.csv",)

    def _columns(self, table: ExportTable) -> pd.DataFrame:
        columns = super()._columns(table)
        for name in columns.columns:
            if not pd.api.types.is_numeric_dtype(columns[name]):
                text = columns[name].astype("string")
                formula = text.str.match(r"[=+\-@\t\r\n]").fillna(False).astype(bool)
                columns[name] = columns[name].mask(formula, "'" + text)
        return columns.rename(columns=lambda name: f"'{name}" if str(name).startswith(tuple("=+-@")) else name)
