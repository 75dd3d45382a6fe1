"""Entries of the cache folder: what can be computed again. Each ends in a hash of its key and content.

A damaged entry counts as missing. A cache that cannot be written is one warning; nothing is kept then.
"""

from __future__ import annotations

import functools
import hashlib
import os
import tempfile
import warnings
from pathlib import Path

from urbankit.utils.files import atomic_path, cache_folder

MARK = b"urbankit"
_FOOTER = hashlib.sha256().digest_size + len(MARK)


class CacheWarning(UserWarning):
    """The cache folder cannot be used."""


def read_entry(path: Path) -> bytes | None:
    """Return the content of an entry, whose name is its key; None if it is missing or damaged."""
    try:
        data = path.read_bytes()
    except OSError:
        return None
    content, footer = data[:-_FOOTER], data[-_FOOTER:]
    return content if footer == _footer(path, content) else None


def write_entry(path: Path, content: bytes) -> None:
    """Write an entry; a warning says if that is not possible."""
    try:
        with atomic_path(path) as temporary:
            temporary.write_bytes(content + _footer(path, content))
    except OSError as error:
        warn_unwritable(error)


def warn_unwritable(error: BaseException) -> None:
    """Warn, once for each cache folder, that nothing can be written to it."""
    reason = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else str(error)
    _warn(cache_folder(), reason)


@functools.cache
def _warn(folder: Path, reason: str) -> None:
    message = (
        f"the cache {folder} cannot be written ({reason}): results are computed and not kept. Make room, or set "
        "URBANKIT_CACHE to a folder that can be written"
    )
    warnings.warn(message, CacheWarning, stacklevel=4)


def is_writable(folder: Path) -> bool:
    """Whether a file of some size can be written into a folder of the cache."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as stream:
            stream.write(bytes(1 << 20))
            stream.flush()
    except OSError:
        return False
    return True


def _footer(path: Path, content: bytes) -> bytes:
    return hashlib.sha256(f"{path.stem}\n".encode() + content).digest() + MARK
