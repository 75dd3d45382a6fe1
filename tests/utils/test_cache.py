"""Damaged entries of the cache count as missing, and a cache that cannot be written is one warning."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest

from urbankit.utils import cache
from urbankit.utils.cache import CacheWarning, is_writable, read_entry, write_entry


def test_cache_entry_is_read_as_written_and_damaged_entries_are_missing(tmp_path: Path) -> None:
    path = tmp_path / "floors" / "key.npy"
    assert read_entry(path) is None
    write_entry(path, b"content")
    assert read_entry(path) == b"content"
    content = path.read_bytes()
    for damaged in (content[:-1], content[1:], content[:3] + b"x" + content[4:], b"", content + b"\0"):
        path.write_bytes(damaged)
        assert read_entry(path) is None
    path.write_bytes(content)
    path.rename(tmp_path / "floors" / "other.npy")
    assert read_entry(tmp_path / "floors" / "other.npy") is None, "it belongs to another key"


def test_unwritable_cache_gives_one_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache._warn.cache_clear()
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("URBANKIT_CACHE", str(tmp_path / "file"))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for name in ("a", "b"):
            write_entry(tmp_path / "file" / "floors" / name, b"content")
    assert [warning.category for warning in caught] == [CacheWarning]
    assert "URBANKIT_CACHE" in str(caught[0].message)
    assert is_writable(tmp_path / "new") and not is_writable(tmp_path / "file")
