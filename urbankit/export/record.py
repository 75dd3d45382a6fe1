"""What an export wrote into a folder, so that it may replace that and nothing else."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from urbankit.errors import Problems
from urbankit.files import hash_file, read_json, write_json

NAME = "exports.json"


class Record:
    """`exports.json` of a folder: the SHA-256 of each file that an export wrote there, and where it was from."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.files = self._read()

    def check(self, names: Iterable[str], *, force: bool) -> None:
        """Raises `UserError` for files that are there and are not as an export left them, unless `force`."""
        problems = Problems()
        for name in dict.fromkeys(names):
            path = self.folder / name
            if path.is_dir():
                problems.add("is a folder; choose another --out", file=path)
            elif path.exists() and not force and self.files.get(name, {}).get("sha256") != hash_file(path):
                problems.add("is there, and not as an export left it; choose another --out, or --force", file=path)
        problems.raise_if_any()

    def add(self, path: Path, facts: Mapping[str, str]) -> None:
        """Note the file `path` of the folder."""
        self.files[path.name] = {"sha256": hash_file(path), **facts}
        write_json(self.folder / NAME, self.files)

    def _read(self) -> dict[str, dict[str, Any]]:
        """The record; empty where there is none, or one that nobody can read and that therefore vouches for nothing."""
        try:
            found = read_json(self.folder / NAME)
        except (FileNotFoundError, ValueError):
            return {}
        return {k: v for k, v in found.items() if isinstance(v, dict)} if isinstance(found, dict) else {}
