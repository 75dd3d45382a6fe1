"""The log of captions in the making: one line for each batch, so that an interruption loses only the current batch."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from urbankit.utils.errors import Problem, UserError
from urbankit.utils.files import sync_folder
from urbankit.utils.json_text import parse_json
from urbankit.utils.removal import remove_file

Record = dict[str, Any]


class CaptionLog:
    """The records of finished batches in the file `path`; its first line holds the settings that they were made with.

    A batch is one line, on disk before the next batch starts. Opening removes an unfinished last line. Raises
    `UserError` if the file was made with other settings than `settings`, or is damaged.
    """

    def __init__(self, path: Path, settings: dict[str, Any]) -> None:
        self.path = path
        self.records: list[Record] = []
        length, lines = self._read()
        self._stream = path.open("r+b" if path.exists() else "x+b")
        self._stream.truncate(length)
        self._stream.seek(length)
        if not lines:
            self._append(settings)
            sync_folder(path.parent)
            return
        check_settings(lines[0], settings, path)
        for line in lines[1:]:
            self.records += line

    def append(self, records: list[Record]) -> None:
        """Append the records of one batch; they are on disk when this returns."""
        self._append(records)
        self.records += records

    def remove(self) -> None:
        self.close()
        remove_file(self.path)

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
        """The length in bytes of the complete lines at the start of the file, and the values of these lines."""
        content = self.path.read_bytes() if self.path.exists() else b""
        length, values = 0, []
        for line in content.splitlines(keepends=True):
            try:
                if not line.endswith(b"\n"):
                    break
                values.append(parse_json(line))
            except ValueError:
                if length + len(line) < len(content):
                    problem = Problem("is damaged; remove it to start again", self.path, line=len(values) + 1)
                    raise UserError(problem) from None
                break
            length += len(line)
        return length, values


def check_settings(recorded: Any, settings: dict[str, Any], path: Path) -> None:
    """Raise `UserError` if `recorded` settings of captions differ from `settings`, with each that differs."""
    old = json.loads(json.dumps(recorded)) if isinstance(recorded, dict) else {}
    new = json.loads(json.dumps(settings))
    differ = [key for key in sorted({*old, *new}) if old.get(key) != new.get(key)]
    if differ:
        changes = "; ".join(f"{key} {_shorten(old.get(key))}, not {_shorten(new.get(key))}" for key in differ)
        message = f"has captions made with other settings: {changes}. Use those, another --out, or remove the file"
        raise UserError(Problem(message, path))


def _shorten(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 100 else f"{text[:100]}…"
