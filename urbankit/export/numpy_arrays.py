"""NumPy: one matrix, and a JSON file that names its rows and columns. No pickle."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from urbankit.export.base import Exporter
from urbankit.export.tables import ExportTable
from urbankit.utils.files import atomic_path, write_json


class NumPy(Exporter):
    """A NumPy matrix, and a JSON file that names its rows and columns."""

    files = ("{what}.npy", "{what}.json")

    def write(self, table: ExportTable, paths: Sequence[Path]) -> list[str]:
        """`.npy` [N, C], and in `.json` its `region_ids`, `columns` and the names of the codes of `classes`."""
        array, names = paths
        with atomic_path(array) as temporary, temporary.open("wb") as stream:
            np.save(stream, table.numbers(), allow_pickle=False)
        described = {
            **table.facts,
            "region_ids": table.region_ids,
            "columns": table.columns,
            "classes": {column: {str(c): name for c, name in of.items()} for column, of in table.classes.items()},
        }
        write_json(names, described)
        return []
