"""New files of a city beside the files that they will replace, until all of them are written."""

from __future__ import annotations

from contextlib import ExitStack, suppress
from pathlib import Path

from urbankit.utils.files import atomic_path, file_check
from urbankit.utils.ledger import Check
from urbankit.utils.removal import remove_files


class Staging:
    """Unfinished files of the city in `folder`, by the paths that they will have in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.files: dict[str, Path] = {}
        self._stack = ExitStack()

    def new(self, name: str) -> Path:
        """Return a temporary path for the file `name`."""
        self.files[name] = self._stack.enter_context(atomic_path(self.folder / name))
        return self.files[name]

    def checks(self) -> dict[str, Check]:
        """Return the size and SHA-256 of each file."""
        return {name: file_check(path) for name, path in self.files.items()}

    def commit(self) -> None:
        """Move each file to its place."""
        self._stack.close()
        self.files = {}

    def discard(self) -> None:
        """Remove all temporary files, and the folders that were made for them."""
        with suppress(_DiscardedError), self._stack:
            raise _DiscardedError
        # `new` made folders for these names; the loop skips those that hold a file.
        for name in [name for name in self.files if not (self.folder / name).exists()]:
            remove_files(self.folder, [name])
        self.files = {}


class _DiscardedError(Exception):
    """Ends the block of each temporary file as a failure does."""
