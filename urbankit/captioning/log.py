"""Captions as they are made: a file that only grows, a line a batch, so that a kill costs the batch at hand alone."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from urbankit.utils.errors import Problem, UserError

Record = dict[str, Any]


class CaptionLog:
    """The records of finished batches in `path`, after a first line that says by which settings they were made.

    A batch is one line, on disk before the next is begun. Opening cuts off a last line that a kill left unfinished.
    Raises `UserError` where the file was made by other settings than `settings`, or is damaged.
    """

    def __init__(self, path: Path, settings: dict[str, Any]) -> None:
        self.path = path
        self.records: list[Record] = []
        whole, lines = self._read()
        self._stream = path.open("r+b" if path.exists() else "x+b")
        self._stream.truncate(whole)
        self._stream.seek(whole)
        if not lines:
            self._append(settings)
            _sync_folder(path.parent)
            return
        check_settings(lines[0], settings, path)
        for line in lines[1:]:
            self.records += line

    def append(self, records: list[Record]) -> None:
        """Keep the records of one batch; they are on disk when this returns."""
        self._append(records)
        self.records += records

    def remove(self) -> None:
        self.close()
        self.path.unlink()

    def close(self) -> None:
        self._stream.close()

    def __enter__(self) -> CaptionLog:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _append(self, value: Any) -> None:
        self._stream.write(json.dumps(value, ensure_ascii=False).encode() + b"\n")
        self._stream.flush()
        os.fsync(self._stream.fileno())

    def _read(self) -> tuple[int, list[Any]]:
        """The bytes of whole lines at the start of the file, and what the lines hold."""
        try:
            content = self.path.read_bytes()
        except FileNotFoundError:
            return 0, []
        whole, lines = 0, []
        for raw in content.splitlines(keepends=True):
            end = whole + len(raw)
            try:
                if not raw.endswith(b"\n"):
                    break
                lines.append(json.loads(raw))
            except ValueError:
                if end < len(content):
                    problem = Problem("is damaged; remove it to begin anew", self.path, line=len(lines) + 1)
                    raise UserError(problem) from None
                break
            whole = end
        return whole, lines


def check_settings(found: Any, wanted: dict[str, Any], path: Path) -> None:
    """Raise `UserError` where captions were made by other settings than those `wanted`, naming each that differs."""
    found = json.loads(json.dumps(found)) if isinstance(found, dict) else {}
    differ = [key for key in sorted({*found, *wanted}) if found.get(key) != json.loads(json.dumps(wanted.get(key)))]
    if differ:
        what = "; ".join(f"{key} {_shown(found.get(key))}, not {_shown(wanted.get(key))}" for key in differ)
        message = f"has captions made by other settings: {what}. Give those, another --out, or remove the file"
        raise UserError(Problem(message, path))


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 100 else f"{text[:100]}…"


def _sync_folder(folder: Path) -> None:
    """Make a new file's name last; not every system lets a folder be opened."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
