"""The folder of a city's sources, for components that read further files from it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from urbankit.city.io.access import Access
from urbankit.utils.errors import Problem, UserError
from urbankit.utils.paths import data_paths, explain_missing


@dataclass(frozen=True)
class Sources:
    """The folder of a city's sources.

    Attributes:
        path: The prepared city or the city file, which errors name.
        folder: The folder; None for a city that does not record it.
        allow: What its files may refer to, as the city file says (`Access`).
    """

    path: Path
    folder: Path | None
    allow: frozenset[str] = frozenset()

    @property
    def access(self) -> Access:
        """What the files may refer to."""
        return Access(self.folder, self.allow)

    def source(self, name: str) -> Path:
        """Return the path of a file or folder among the sources.

        Args:
            name: Its path relative to the folder.

        Raises:
            UserError: If the file is missing or its path leaves the folder.
        """
        if self.folder is None:
            raise UserError(Problem(f"does not record where its sources are ('{name}'); prepare it again", self.path))
        [path] = data_paths(self.folder, [name], outside="outside" in self.allow)
        if not path.exists():
            raise UserError(Problem(explain_missing(path), path))
        return path
