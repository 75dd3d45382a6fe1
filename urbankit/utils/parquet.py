"""Tables written as Parquet."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from urbankit.utils.files import atomic_path


def write_table(table: pl.DataFrame | pd.DataFrame, path: Path) -> None:
    """Write a table as Parquet, without its index; `path` is replaced only when the write succeeds."""
    with atomic_path(path) as temporary:
        write_parquet(table, temporary)


def write_parquet(table: pl.DataFrame | pd.DataFrame, target: Path | BytesIO) -> None:
    """Write a table as Parquet to a temporary file or into memory."""
    arrow = table.to_arrow() if isinstance(table, pl.DataFrame) else pa.Table.from_pandas(table, preserve_index=False)
    pq.write_table(arrow, target)
