"""What an exporter is: it writes embeddings or predictions in the format of another tool."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from urbankit.export.tables import ExportTable
from urbankit.registry.component import Component, P
from urbankit.runs.folder import Run


class Exporter(Component[P], ABC):
    """Writes one format of `urbankit export --to NAME`.

    Attributes:
        files: names of the files it writes; `{what}` becomes `embeddings`, `predictions` or
            `predictions_all`.
        has_resolution: whether it writes a raster, whose cells `--resolution` sets.
        needs_geometry: whether it cannot write regions without geometry; `export` then refuses them.
        beside: names of exporters whose files are written beside those of predictions, such as a style.
        resolution: side of a raster's cells in metres; None for one that fits the regions.

    Args:
        params: the exporter's `Params`; `urbankit export` uses their defaults.
        resolution: see above.
    """

    files: ClassVar[tuple[str, ...]]
    has_resolution: ClassVar[bool] = False
    needs_geometry: ClassVar[bool] = False
    beside: ClassVar[tuple[str, ...]] = ()

    def __init__(self, params: P, resolution: float | None = None) -> None:
        self.params, self.resolution = params, resolution

    @abstractmethod
    def write(self, table: ExportTable, paths: Sequence[Path]) -> list[str]:
        """Write the files.

        Args:
            table: the rows to write, one for each region: `frame` (GeoDataFrame), `columns`, `classes` and `numbers()`.
            paths: where each of `files` is to be written, in their order.

        Returns:
            Notes that the command prints, such as the size of a raster.

        Raises:
            UserError: the format cannot hold the table.
        """


class FolderExporter(Exporter[P]):
    """Writes one folder from a run instead of a file from each table."""

    files = ()

    @abstractmethod
    def write_folder(self, run: Run, folder: Path, *, force: bool) -> list[str]:
        """Write the folder.

        Args:
            run: The run.
            folder: The folder, which may exist.
            force: Also replace files that urbankit did not write, or that have changed since.

        Returns:
            Notes that the command prints.

        Raises:
            UserError: The run cannot be written so, or the folder holds something else.
        """

    def write(self, table: ExportTable, paths: Sequence[Path]) -> list[str]:
        """Raise `TypeError`: it writes no tables."""
        raise TypeError(f"{type(self).__name__} writes a folder, not tables")
