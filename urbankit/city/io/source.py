"""Formats of tables and vector files. The end of a file's name decides which source reads it."""

from __future__ import annotations

from abc import ABC
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from urbankit import registry
from urbankit.registry.component import Component, P, Use
from urbankit.utils.content import explain_content
from urbankit.utils.errors import Problem, UserError

if TYPE_CHECKING:
    import geopandas as gpd
    import polars as pl


class Source(Component[P], ABC):
    """Reads files of one format, wherever a city file names a table or a vector file.

    Override `scan_table` for a format of tables, `read_vector` for one with geometries, or both. An error that a
    method raises is reported with the file and the key of the city file; a `UserError` keeps its message.

    Attributes:
        suffixes: The ends of file names, in lower case and with the dot: `(".xlsx",)`. The longest one that fits
            decides, so that `.csv.gz` is not `.gz`.
    """

    suffixes: ClassVar[tuple[str, ...]] = ()

    def __init__(self, params: P) -> None:
        self.params = params

    def scan_table(self, path: Path) -> pl.LazyFrame:
        """Return the table in a file.

        Columns may be text: numbers are parsed where they are used. Ids that are text keep their leading zeros.

        Args:
            path: The file.

        Raises:
            UserError: If the file cannot be read as a table.
        """
        raise UserError("holds geometries and is not a table")

    def check_table(self, path: Path, columns: Collection[str] | None) -> None:
        """Raise `UserError` if a table is damaged where it can be known before it is scanned; by default nothing.

        Args:
            path: The file.
            columns: The names of the columns that are read; None if all are.
        """

    def rows(self, path: Path) -> int | None:
        """Return how many rows a table has, as its file says, to compare with those read; None if it does not say."""
        return None

    def repeated_columns(self, path: Path) -> list[str]:
        """Return the names that several columns of a table have, which `scan_table` must rename; by default none."""
        return []

    def explain_damage(self, path: Path) -> str | None:
        """Return where a table is damaged, such as `line 3 has 4 values`, after reading failed; None if unknown."""
        return None

    def read_vector(self, path: Path, layer: str | None) -> gpd.GeoDataFrame:
        """Return all features of a file, in its CRS; without a CRS if the file has none.

        Args:
            path: The file.
            layer: A name of `layers`; None if there is at most one layer.
        """
        raise UserError("is a table and holds no geometries")

    def layers(self, path: Path) -> Sequence[str]:
        """Return the names of the layers of a vector file; none if the format has no layers."""
        return ()

    def is_vector(self, path: Path) -> bool:
        """Return whether a file holds geometries; by default, whether the class overrides `read_vector`."""
        return type(self).read_vector is not Source.read_vector

    def notes(self, path: Path) -> list[str]:
        """Return sentences for the user on rows that are read, but not as the file's author may have meant them."""
        return []

    def files(self, path: Path) -> Sequence[Path]:
        """Return the files that are read; a change of any of them prepares the city again."""
        return [path]


def find_source(path: Path, key: str | None = None) -> Source | None:
    """Return the source for a file's name, or None if there is none.

    Raises `UserError` under `key` if several sources read such files.
    """
    name = path.name.lower()
    matches = {
        source: max(fitting, key=len)
        for source, suffixes in _suffixes().items()
        if (fitting := [suffix for suffix in suffixes if name.endswith(suffix)])
    }
    longest = max(map(len, matches.values()), default=0)
    names = sorted(source for source, suffix in matches.items() if len(suffix) == longest)
    if len(names) > 1:
        message = f"several sources read '{matches[names[0]]}': {', '.join(names)}; choose one by URBANKIT_PLUGINS"
        raise UserError(Problem(message, path, key=key))
    return registry.create("source", Use(name=names[0])) if names else None


def table_source(path: Path, key: str) -> Source:
    """Return the source for a table. Raises `UserError` under `key` with the suffixes of tables if there is none."""
    source = find_source(path, key)
    if source is None:
        classes = [registry.get("source", name) for name in _suffixes()]
        tables = [suffix for cls in classes if cls.scan_table is not Source.scan_table for suffix in cls.suffixes]
        message = f"'{path.suffix}' is not a table; use {', '.join(tables)}"
        failed = [plugin.explanation for plugin in registry.failed_plugins()]
        raise UserError(Problem(" ".join(["; ".join([message, *_failures()]), *failed]), path, key=key))
    return source


@contextmanager
def reading(path: Path, key: str) -> Iterator[None]:
    """Turn an error of a source while it reads `path` into a `UserError` with the file and the key."""
    try:
        yield
    except UserError as error:
        problems = [replace(problem, file=problem.file or path, key=problem.key or key) for problem in error.problems]
        raise UserError(problems) from None
    except Exception as error:  # (GDAL, Arrow, geopandas and plugins raise kinds of their own)
        reason = str(error) or type(error).__name__
        raise UserError(
            Problem(f"cannot be read, it may be truncated: {reason}{explain_content(path)}", path, key=key)
        ) from None


@registry.cached
def _suffixes() -> dict[str, tuple[str, ...]]:
    """Return the suffixes of every source that loads, by name."""
    suffixes = {}
    for name in registry.names("source"):
        try:
            suffixes[name] = registry.get("source", name).suffixes
        except UserError:  # it stops only a file that no other source reads: see `_failures`
            continue
    return suffixes


def _failures() -> Iterator[str]:
    """Yield why registered sources do not load."""
    for name in registry.names("source"):
        try:
            registry.get("source", name)
        except UserError as error:
            yield str(error)
