"""What all forms of a file of embeddings share: how it is read, and the checks of its ids."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from urbankit.city.city import City
from urbankit.city.io.codes import Codes
from urbankit.utils.errors import Problems, suggest
from urbankit.utils.text import list_some


@dataclass(frozen=True)
class Rules:
    """How a file is read: the column of ids, the columns of numbers (None: all others), and what is allowed.

    `absent` allows regions without a row, `unknown` rows of regions that the city does not have. `codes` says whether
    the numbers are 8-bit codes (`decode`). `year` selects what a file or folder has of one year, `prefix` is the text
    before the ids of the city (None: as the ids say).
    """

    region: str = "region_id"
    columns: Sequence[str] | None = None
    absent: bool = False
    unknown: bool = False
    codes: Codes = "auto"
    year: int | None = None
    prefix: str | None = None


@dataclass
class EmbeddingTable:
    """`values` float64[M, F], NaN missing, with the F `names`, and the `region` of each row, int64[M]."""

    values: np.ndarray
    region: np.ndarray
    names: list[str]
    notes: list[str] = field(default_factory=list)


def select_names(
    requested: Sequence[str] | None, available: list[str], what: str, problems: Problems, key: str
) -> list[str]:
    """Return the names that are requested, all if None, and report those that are not available."""
    for name in requested or ():
        if name not in available:
            problems.add(f"there is no {what} '{name}'.{suggest(name, available)}", key=f"{key}.columns")
    return available if requested is None else [name for name in requested if name in available]


def report_unknown(
    ids: Sequence[str], rows: Sequence[int], rules: Rules, problems: Problems, notes: list[str], key: str
) -> None:
    """Report rows whose id no region has, as a note or a problem."""
    if not len(ids):
        return
    named = [f"{name} (row {row})" for name, row in zip(ids, rows, strict=True)]
    if rules.unknown:
        notes.append(f"{len(ids)} rows of regions that the city does not have are skipped")
    else:
        remedy = "correct them, or skip such rows with `unknown: drop`"
        problems.add(f"ids that match no region: {list_some(named)}; {remedy}", key=f"{key}.region")


def without_empty(table: EmbeddingTable, city: City, rules: Rules, problems: Problems, key: str) -> EmbeddingTable:
    """Return the table without the rows that hold no number."""
    rows = np.isfinite(table.values).any(axis=1)
    filled = EmbeddingTable(table.values[rows], table.region[rows], table.names, table.notes)
    report_absent(filled, city, rules, problems, key)
    return filled


def report_absent(table: EmbeddingTable, city: City, rules: Rules, problems: Problems, key: str) -> None:
    """Report regions that the file does not cover, as a note or a problem."""
    missing = np.setdiff1d(np.arange(city.n_regions), table.region)
    if not len(missing):
        return
    count = f"{len(missing)} of {city.n_regions} regions have no vector"
    if rules.absent and len(missing) < city.n_regions:
        table.notes.append(f"{count} and count as absent")
    else:
        named = list_some([city.region_ids[i] for i in missing])
        remedy = "add them, or set `absent: mask` to mask these regions"
        problems.add(f"{count}: {named}; {remedy}", key=f"{key}.file")
