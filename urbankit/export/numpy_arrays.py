"""NumPy: one matrix, and a JSON file that names its rows and columns. No pickle."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from urbankit.export.tables import Contents
from urbankit.utils.files import atomic_path, write_json


def write(contents: Contents, paths: Sequence[Path], resolution: float | None) -> list[str]:
    """`.npy` [N, C], and in `.json` its `region_ids`, `columns` and the names of the codes of `classes`."""
    array, names = paths
    with atomic_path(array) as temporary, temporary.open("wb") as stream:
        np.save(stream, contents.numbers(), allow_pickle=False)
    described = {
        **contents.facts,
        "region_ids": contents.region_ids,
        "columns": contents.columns,
        "classes": {column: {str(c): name for c, name in of.items()} for column, of in contents.classes.items()},
    }
    write_json(names, described)
    return []
