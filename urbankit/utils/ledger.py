"""The ledger of a folder: one line for each file that urbankit wrote there, with its size and SHA-256.

A line is on disk before the file replaces an earlier one. After a kill between the two, the file matches the line
before the last, so both count.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from urbankit.utils.json_text import parse_json

PARTIAL = ".urbankit-partial-"
"""Prefix of files and folders that are not written to the end; a process that was killed leaves them behind."""

LEDGER = "urbankit-files.jsonl"
DEPTH = 4
"""Most folders between a file and the ledger that records it."""

Check = dict[str, Any]
"""The `size` in bytes and the `sha256` of a file."""


class Ledger:
    """The files that urbankit wrote into `folder`, by their paths relative to it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.damaged_lines: list[int] = []
        self.files: dict[str, list[Check]] = {}
        for number, line in enumerate(_lines(folder / LEDGER), start=1):
            entry = _parsed(line)
            if entry is None:
                self.damaged_lines.append(number)
            elif "sha256" in entry:
                self.files[entry["name"]] = [*self.files.get(entry["name"], [])[-1:], entry]
            else:
                self.files.pop(entry["name"], None)

    def name_of(self, path: Path) -> str:
        """The path of a file in the folder as the ledger records it."""
        return _name(self.folder, path)

    def incomplete(self) -> list[str]:
        """The names of listed files that are missing or have another size than urbankit wrote."""
        return [
            name for name, checks in self.files.items() if _size(self.folder / name) not in {c["size"] for c in checks}
        ]

    def accepts(self, name: str, check: Check) -> bool:
        """Whether a file of this size and SHA-256 is one that urbankit wrote as `name`."""
        return any(all(entry[key] == check[key] for key in ("size", "sha256")) for entry in self.files.get(name, []))


def start_ledger(folder: Path) -> None:
    """Begin to record the files that urbankit writes into `folder`; an existing ledger stays.

    A last line without its end goes: a process was killed while it wrote the line, before it put the file in place.
    """
    with (folder / LEDGER).open("a+b") as stream:
        stream.seek(0)
        content = stream.read()
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            stream.truncate(whole)


def ledger_folder(path: Path) -> Path | None:
    """Return the nearest folder above `path` that has a ledger; None if none has, and for an unfinished file."""
    path = path.absolute()
    if any(part.startswith(PARTIAL) for part in path.parts[-DEPTH:]):
        return None
    return next((folder for folder in list(path.parents)[:DEPTH] if (folder / LEDGER).is_file()), None)


def is_whole(path: Path) -> bool:
    """Whether a file exists, in a size that the nearest ledger records if it lists the file."""
    folder = ledger_folder(path)
    return path.is_file() and (folder is None or _name(folder, path) not in Ledger(folder).incomplete())


def is_listed(folder: Path, path: Path) -> bool:
    """Whether the ledger of `folder` lists the file `path` in it."""
    return _name(folder, path) in Ledger(folder).files


def record(folder: Path, path: Path, check: Check) -> None:
    """Add the file that is about to be at `path` to the ledger of `folder`; with `check` empty, that it is removed."""
    entry = {"name": _name(folder, path), **check}
    text = json.dumps(entry | {"line": _digest(entry)}, ensure_ascii=False)
    with (folder / LEDGER).open("a+b") as stream:  # appends of several processes do not mix
        end = stream.seek(0, os.SEEK_END)
        if end:
            stream.seek(end - 1)
            if stream.read(1) != b"\n":  # a process was killed while it wrote a line
                text = "\n" + text
        stream.write(text.encode() + b"\n")
        stream.flush()
        os.fsync(stream.fileno())


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None


def _name(folder: Path, path: Path) -> str:
    return path.absolute().relative_to(folder).as_posix()


def _lines(path: Path) -> list[bytes]:
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return []
    return [line for line in content.split(b"\n") if line]


def _parsed(line: bytes) -> Check | None:
    """The entry of a line, None if the line is damaged."""
    try:
        entry = parse_json(line)
        digest = entry.pop("line")
        return entry if digest == _digest(entry) and isinstance(entry["name"], str) else None
    except (ValueError, KeyError, AttributeError):
        return None


def _digest(entry: Check) -> str:
    return hashlib.sha256(json.dumps(entry, sort_keys=True).encode()).hexdigest()[:16]
