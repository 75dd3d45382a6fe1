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


def valid_text(content: BytesIO) -> BytesIO:
    """Return the Parquet file `content` after a look at all of its values, among them whether text is UTF-8.

    pandas reads text only when it is used, and would then end in a `UnicodeDecodeError` far from the file.

    Raises:
        ValueError: A value is not of the type that the file says.
    """
    pq.read_table(content).validate(full=True)
    content.seek(0)
    return content
