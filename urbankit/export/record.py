"""The record of the files that an export wrote into a folder; only these may be replaced."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from urbankit.utils.errors import Problems
from urbankit.utils.files import file_check, hash_file, read_json, replace_file, write_json
from urbankit.utils.written import is_own, note_own, was_written

NAME = "exports.json"


class Record:
    """`exports.json` of a folder: the size, the SHA-256 and the source of each file that an export wrote there.

    `before` is the SHA-256 of the file that was replaced, because an export can be interrupted between writing the
    record and moving the file.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.files = self._read()

    def check(self, names: Iterable[str], *, force: bool) -> None:
        """Raise `UserError` for existing files that no export wrote or that have changed since, unless `force`."""
        problems = Problems()
        path = self.folder / NAME
        if path.exists() and not (self.files or force or was_written(path)):
            problems.add(f"exists, and is no record of an export; move it, as exports write {NAME}", file=path)
        for name in dict.fromkeys(names):
            path = self.folder / name
            if path.is_dir():
                problems.add("is a folder; choose another --out", file=path)
            elif path.exists() and not force and self._recorded_hash(path) is None and not is_own(path):
                problems.add(
                    "exists, but no export wrote it or it has changed since; choose another --out, or use --force",
                    file=path,
                )
        problems.raise_if_any()

    def move(self, temporary: Path, facts: Mapping[str, str]) -> Path:
        """Record the file `temporary`, move it into the folder, and return its new path."""
        path = self.folder / temporary.name
        entry = {**file_check(temporary), **facts}
        if path.exists() and (before := self._recorded_hash(path)):
            entry["before"] = before
        self.files[path.name] = entry
        write_json(self.folder / NAME, self.files)
        note_own(self.folder / NAME)
        replace_file(temporary, path)
        note_own(path)  # should the record be damaged
        return path

    def _recorded_hash(self, path: Path) -> str | None:
        """Return the SHA-256 of a file if it is in the record, else None."""
        entry = self.files.get(path.name, {})
        digest = hash_file(path) if entry else None
        return digest if digest in (entry.get("sha256"), entry.get("before")) else None

    def _read(self) -> dict[str, dict[str, Any]]:
        """Read the record; empty if the file is missing or damaged."""
        try:
            record = read_json(self.folder / NAME)
        except (FileNotFoundError, ValueError):
            return {}
        entries = record.items() if isinstance(record, dict) else ()
        return {name: entry for name, entry in entries if isinstance(entry, dict) and "sha256" in entry}
