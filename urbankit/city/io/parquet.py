"""Parquet, which holds geometries if its metadata says so."""

from __future__ import annotations

from pathlib import Path

import geopandas as gpd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from urbankit.city.io.source import Source


class Parquet(Source):
    """Parquet and GeoParquet. A file with the metadata of GeoParquet holds geometries; others are tables."""

    suffixes = (".parquet", ".geoparquet")

    def scan_table(self, path: Path) -> pl.LazyFrame:
        return pl.scan_parquet(path)

    def read_vector(self, path: Path, layer: str | None) -> gpd.GeoDataFrame:
        return gpd.read_parquet(path)

    def is_vector(self, path: Path) -> bool:
        try:
            return path.is_file() and b"geo" in (pq.read_schema(path).metadata or {})
        except (pa.ArrowException, OSError):
            return False
