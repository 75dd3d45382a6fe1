"""SHA-256 of large files that urbankit reads and does not write, such as weights. Each file is read only once."""

from __future__ import annotations

import hashlib
import os
import re
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from urbankit.utils.files import cache_folder, hash_json, read_json, write_json

LARGE = 1 << 24
"""Size in bytes from which on the hash of a file is cached; a smaller file is read in about a tenth of a second."""

SETTLED = 2.0
"""Seconds after which a change is visible in a file's times; some file systems store times in seconds."""

THREADS = 4


def cached_hash(path: str | Path) -> str:
    """Return the SHA-256 of a file in hex. The hash of a large file is cached, so that the file is read only once.

    For files of the Hugging Face hub the hash is part of the download: it is the name of the file in the hub's cache,
    and `hf download --local-dir` writes it to a metadata file, which is used if the file was not modified since. The
    hash of any other large file is stored in urbankit's cache folder (`hashes/`) with the file's size, times and
    inode, and is used as long as these are the same.
    """
    path = Path(path)
    size = path.stat().st_size
    if size < LARGE:
        return hash_large(path)
    return _named_by_hub(path) or _downloaded(path) or hash_large(path)


def hash_large(path: Path) -> str:
    """Return the SHA-256 of a file. That of a large file is cached by its size, times and inode, see `cached_hash`."""
    with path.open("rb") as stream:
        return hash_open_file(path, stream.fileno())


def hash_open_file(path: Path, descriptor: int) -> str:
    """Return the SHA-256 of an open file as `hash_large` does; `path` is where it was opened."""
    if os.fstat(descriptor).st_size < LARGE:
        return _hash_descriptor(descriptor)
    return _from_cache(path, descriptor)


def cached_hashes(paths: Sequence[Path]) -> list[str]:
    """Return `cached_hash` of each path, computed in parallel."""
    with ThreadPoolExecutor(THREADS) as threads:
        return list(threads.map(cached_hash, paths))


def _named_by_hub(path: Path) -> str | None:
    """Return the hash of a file in the hub's cache, where snapshots link to blobs that are named by their hash."""
    file = path.resolve()
    return file.name if file.parent.name == "blobs" and _is_hash(file.name) else None


def _downloaded(path: Path) -> str | None:
    """Return the hash in the metadata file of `hf download --local-dir`: lines of commit, hash and time of writing."""
    note = path.parent / ".cache" / "huggingface" / "download" / f"{path.name}.metadata"
    try:
        _, digest, written = note.read_text(encoding="utf-8").splitlines()[:3]
        about = path.stat()  # `cp -p` gives another file an older time of modification
        unchanged = max(about.st_mtime, about.st_ctime) - 1 <= float(written)
    except (OSError, ValueError):
        return None
    return digest if unchanged and _is_hash(digest) else None


def _is_hash(name: str) -> bool:
    # The hub names small files by their SHA-1 in git, which has 40 digits.
    return re.fullmatch("[0-9a-f]{64}", name) is not None


def _from_cache(path: Path, descriptor: int) -> str:
    """Return the hash in urbankit's cache folder if the file is unchanged, else compute and store it."""
    note = cache_folder() / "hashes" / f"{hash_json(str(path.resolve()))}.json"
    state = _state(descriptor)
    try:
        cached = read_json(note)
        if cached["state"] == state and cached["check"] == hash_json([state, cached["sha256"]]):
            return str(cached["sha256"])
    except (OSError, ValueError, KeyError, TypeError):
        pass
    began = time.time()
    digest = _hash_descriptor(descriptor)
    # A file that changed just before reading may change again during reading without a visible change of its times.
    if _state(descriptor) == state and began - max(state[1:3]) / 1e9 > SETTLED:
        with suppress(OSError):  # the file is read again the next time
            check = hash_json([state, digest])  # without it, a damaged note would make the file look damaged
            write_json(note, {"file": str(path), "state": state, "sha256": digest, "check": check})
    return digest


def _hash_descriptor(descriptor: int) -> str:
    """Return the SHA-256 of an open file, without using its position."""
    digest, position = hashlib.sha256(), 0
    while block := os.pread(descriptor, 1 << 20, position):
        digest.update(block)
        position += len(block)
    return digest.hexdigest()


def _state(descriptor: int) -> list[int]:
    """Return the size of a file, its times of modification and of status change in nanoseconds, and its inode."""
    about = os.fstat(descriptor)
    return [about.st_size, about.st_mtime_ns, about.st_ctime_ns, about.st_ino]
