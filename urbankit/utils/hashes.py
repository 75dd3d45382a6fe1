"""SHA-256 of files that urbankit reads and does not write, such as weights of many gigabytes: read once, then known."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from urbankit.utils.files import cache_folder, hash_file, hash_json, write_json

LARGE = 1 << 24
"""Bytes of a file from which on its hash is kept; a smaller one is read in about a tenth of a second."""

SETTLED = 2.0
"""Seconds after which a change shows in a file's times, on file systems that count them in whole seconds."""

AT_ONCE = 4


def cached_hash(path: str | Path) -> str:
    """Return the SHA-256 of a file in hex; that of a large file is remembered, so that it is read once.

    The hub names a large file by its SHA-256, and downloads keep that name: in the hub's cache as the name of the file,
    and beside a folder made by `hf download --local-dir`, where it counts for files not modified since. Of any other
    file it is kept in urbankit's cache folder (`hashes/`) with the file's size, times and inode, and holds while these
    are the same.
    """
    path = Path(path)
    size = path.stat().st_size
    if size < LARGE:
        return hash_file(path)
    return _named_by_hub(path) or _downloaded(path) or _kept(path)


def cached_hashes(paths: Sequence[Path]) -> list[str]:
    """As `cached_hash`, of several files at a time."""
    with ThreadPoolExecutor(AT_ONCE) as threads:
        return list(threads.map(cached_hash, paths))


def _named_by_hub(path: Path) -> str | None:
    """The hash of a file in the hub's cache, where a snapshot links to blobs that are named by it."""
    file = path.resolve()
    return file.name if file.parent.name == "blobs" and _is_hash(file.name) else None


def _downloaded(path: Path) -> str | None:
    """The hash that `hf download --local-dir` noted of a file: its commit, its hash and when it was written."""
    note = path.parent / ".cache" / "huggingface" / "download" / f"{path.name}.metadata"
    try:
        _, known, written = note.read_text(encoding="utf-8").splitlines()[:3]
        unchanged = path.stat().st_mtime - 1 <= float(written)
    except (OSError, ValueError):
        return None
    return known if unchanged and _is_hash(known) else None


def _is_hash(name: str) -> bool:
    # Small files go by the SHA-1 of git, of 40 digits.
    return re.fullmatch("[0-9a-f]{64}", name) is not None


def _kept(path: Path) -> str:
    note = cache_folder() / "hashes" / f"{hash_json(str(path.resolve()))}.json"
    state = _state(path)
    try:
        kept = json.loads(note.read_text(encoding="utf-8"))
        if kept["state"] == state:
            return str(kept["sha256"])
    except (OSError, ValueError, KeyError, TypeError):
        pass
    began = time.time()
    found = hash_file(path)
    # What had changed just before it was read may change while it is read without its times telling.
    if _state(path) == state and began - max(state[1:3]) / 1e9 > SETTLED:
        with suppress(OSError):  # then it is read again the next time
            write_json(note, {"file": str(path), "state": state, "sha256": found})
    return found


def _state(path: Path) -> list[int]:
    """What changes with a file: its size, its times of modification and change in nanoseconds, and its inode."""
    about = path.stat()
    return [about.st_size, about.st_mtime_ns, about.st_ctime_ns, about.st_ino]
