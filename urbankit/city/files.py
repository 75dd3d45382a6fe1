"""The files of a city as they were when it was opened; later changes are not read."""

from __future__ import annotations

import hashlib
import io
import mmap
import os
from collections.abc import Mapping
from pathlib import Path
from weakref import WeakValueDictionary

import numpy as np

from urbankit.utils.errors import Problem, UserError
from urbankit.utils.hashes import hash_open_file
from urbankit.utils.ledger import Check

MOST_OPEN = 256
"""Most files of one city that stay open; further ones are opened when they are read."""


class CityFiles:
    """The files that the manifest of a city lists.

    They are opened with the city. `prepare` replaces files, so an open city still reads the old ones,
    also after its folder was removed. A file that was changed in place no longer has the SHA-256 of the manifest; it
    raises `UserError` when it is read.

    Args:
        folder: The city's folder.
        checks: The size and SHA-256 of each file, by its path in the folder.
    """

    def __init__(self, folder: Path, checks: Mapping[str, Check]) -> None:
        self.folder, self.checks = folder, dict(checks)
        self._open: dict[str, _OpenFile] = {}
        for name in list(self.checks)[:MOST_OPEN]:
            try:
                self._open[name] = _open_file(folder / name)
            except OSError:  # reading it reports it
                continue

    def __reduce__(self) -> tuple[type[CityFiles], tuple[Path, dict[str, Check]]]:
        return type(self), (self.folder, self.checks)

    def read(self, name: str) -> io.BytesIO:
        """Return the bytes of a file. Raises `UserError` if it is missing or changed since it was written."""
        file = self._opened(name)
        content = file.read()
        if (
            len(content) != self._check(name)["size"]
            or hashlib.sha256(content).hexdigest() != self._check(name)["sha256"]
        ):
            raise self._damaged(name)
        return io.BytesIO(content)

    def map_array(self, name: str) -> np.ndarray:
        """Return the array of an `.npy` file by memory map; raises `UserError` as `read` does."""
        file = self._opened(name)
        if not self._is_whole(name, file):
            raise self._damaged(name)
        try:
            return _mapped(file)
        except ValueError as error:
            raise UserError(Problem(f"is damaged ({error}); prepare the city again", self.folder / name)) from None

    def damaged(self) -> list[Problem]:
        """Return a problem for each file that is missing, or has another size or SHA-256 than when it was written."""
        problems = []
        for name in self.checks:
            try:
                if not self._is_whole(name, self._opened(name)):
                    raise self._damaged(name)
            except UserError as error:
                problems += error.problems
        return problems

    def _opened(self, name: str) -> _OpenFile:
        try:
            return self._open.get(name) or _open_file(self.folder / name)
        except OSError as error:
            message = f"is missing or cannot be read ({error.strerror}); prepare the city again"
            raise UserError(Problem(message, self.folder / name)) from None

    def _is_whole(self, name: str, file: _OpenFile) -> bool:
        check = self._check(name)
        return file.size() == check["size"] and hash_open_file(self.folder / name, file.descriptor) == check["sha256"]

    def _check(self, name: str) -> Check:
        if name not in self.checks:
            raise UserError(Problem("is not listed with its hash; prepare the city again", self.folder / name))
        return self.checks[name]

    def _damaged(self, name: str) -> UserError:
        message = (
            "is damaged, or was changed or prepared again after the city was opened: it is not the file that its "
            "manifest describes; prepare the city again"
        )
        return UserError(Problem(message, self.folder / name))


class _OpenFile:
    """A file that stays open for reading."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor

    def __del__(self) -> None:
        os.close(self.descriptor)

    def size(self) -> int:
        return os.fstat(self.descriptor).st_size

    def read(self) -> bytes:
        """Return all bytes. Threads may share the file: its position is not used."""
        blocks, position = [], 0
        while block := os.pread(self.descriptor, 1 << 26, position):
            blocks.append(block)
            position += len(block)
        return b"".join(blocks)


_OPEN: WeakValueDictionary[tuple[int, int], _OpenFile] = WeakValueDictionary()
"""The open files of this process by device and inode: several cities of one folder share them."""


def _open_file(path: Path) -> _OpenFile:
    file = _OpenFile(os.open(path, os.O_RDONLY))
    status = os.fstat(file.descriptor)
    return _OPEN.setdefault((status.st_dev, status.st_ino), file)


def _mapped(file: _OpenFile) -> np.ndarray:
    size = file.size()
    header = io.BytesIO(os.pread(file.descriptor, 1 << 12, 0))
    if np.lib.format.read_magic(header) != (1, 0):
        raise ValueError("its format is not the one that urbankit writes")
    shape, fortran_order, dtype = np.lib.format.read_array_header_1_0(header)
    if fortran_order or dtype.hasobject or header.tell() + dtype.itemsize * int(np.prod(shape)) != size:
        raise ValueError("its size does not fit its header")
    content = mmap.mmap(file.descriptor, size, access=mmap.ACCESS_READ)
    return np.frombuffer(content, dtype, offset=header.tell()).reshape(shape)
