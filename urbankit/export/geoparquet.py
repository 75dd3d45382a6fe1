"""GeoParquet, for geopandas, DuckDB and QGIS."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from urbankit.files import whole

if TYPE_CHECKING:
    from urbankit.export.contents import Contents
    from urbankit.export.export import Wish


def write(contents: Contents, paths: Sequence[Path], wish: Wish) -> list[str]:
    """One row a region, geometry as WKB with its CRS."""
    [path] = paths
    frame = contents.frame if wish.crs is None else contents.frame.to_crs(wish.crs)
    with whole(path) as temporary:
        frame.to_parquet(temporary, index=False)
    return []
