"""Parquet, which holds geometries if its metadata says so."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import geopandas as gpd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from urbankit.city.io.source import Source
from urbankit.utils.errors import UserError
from urbankit.utils.text import first_line

CHECKED_ROWS = 1 << 17
MAX_BYTES = 8 << 30


class Parquet(Source):
    """Parquet and GeoParquet. A file with the metadata of GeoParquet holds geometries; others are tables."""

    suffixes = (".parquet", ".geoparquet", ".gpq")

    def scan_table(self, path: Path) -> pl.LazyFrame:
        return pl.scan_parquet(path, glob=False, hive_partitioning=False)

    def rows(self, path: Path) -> int | None:
        return pq.read_metadata(path).num_rows

    def check_table(self, path: Path, columns: Collection[str] | None) -> None:
        """Decode the columns once: Arrow reports damage at which Polars may end a stream without an error."""
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            names = [name for name in file.schema_arrow.names if columns is None or name in columns]
            for group in range(file.num_row_groups):
                expected = file.metadata.row_group(group).num_rows
                try:
                    batches = file.iter_batches(CHECKED_ROWS, row_groups=[group], columns=names)
                    rows = sum(batch.num_rows for batch in batches) if names else expected
                    reason = f"{rows:,} of {expected:,} rows"
                except (pa.ArrowException, OSError) as error:
                    rows, reason = -1, first_line(error)
                if rows != expected:
                    location = f"row group {group + 1} of {file.num_row_groups}"
                    raise UserError(f"{location} is damaged ({reason}); fetch the file again")

    def read_vector(self, path: Path, layer: str | None) -> gpd.GeoDataFrame:
        metadata = pq.read_metadata(path)
        if sum(metadata.row_group(i).total_byte_size for i in range(metadata.num_row_groups)) > MAX_BYTES:
            raise UserError(f"unpacks to more than {MAX_BYTES >> 30} GB; cut it to the city first")
        frame = gpd.read_parquet(path)
        # Other tools keep ids in the index, such as srai's `region_id`.
        named = [name for name in frame.index.names if name is not None and name not in frame.columns]
        return frame.reset_index(named) if named else frame

    def is_vector(self, path: Path) -> bool:
        try:
            return path.is_file() and b"geo" in (pq.read_schema(path).metadata or {})
        except (pa.ArrowException, OSError):
            return False
