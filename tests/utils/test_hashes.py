"""Hashes of files that are read: always SHA-256, of a large file without reading it where it is known."""

import hashlib
import os
import time
from pathlib import Path

import pytest

from urbankit.utils import hashes
from urbankit.utils.hashes import cached_hash, cached_hashes

READ: list[str] = []


@pytest.fixture(autouse=True)
def counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files of 8 bytes are large, files are settled at once, and what is read is noted in `READ`."""
    READ.clear()
    plain = hashes._hash_descriptor
    names = {}

    def opened(path, descriptor, of=hashes.hash_open_file):
        names[descriptor] = Path(path).name
        return of(path, descriptor)

    monkeypatch.setattr(hashes, "hash_open_file", opened)
    monkeypatch.setattr(hashes, "_hash_descriptor", lambda file: READ.append(names[file]) or plain(file))
    monkeypatch.setattr(hashes, "LARGE", 8)
    monkeypatch.setattr(hashes, "SETTLED", -1.0)


def written(path: Path, text: str) -> str:
    """Write a file, and its SHA-256."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return hashlib.sha256(text.encode()).hexdigest()


def test_a_large_file_is_read_once_until_it_changes(tmp_path):
    path = tmp_path / "weights.safetensors"
    first = written(path, "weights of a model")
    assert [cached_hash(path) for _ in range(3)] == [first] * 3 and len(READ) == 1
    times = path.stat()
    second = written(path, "Weights of a model")
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))  # its size and modification time are as they were
    assert cached_hash(path) == second != first and len(READ) == 2


def test_a_replaced_file_is_hashed_again(tmp_path):
    path, other = tmp_path / "weights.safetensors", tmp_path / "others"
    written(path, "weights of a model")
    cached_hash(path)
    second = written(other, "Weights of a model")
    other.rename(path)
    assert cached_hash(path) == second


def test_small_and_recently_changed_files_are_read_each_time(tmp_path, monkeypatch):
    digest = written(tmp_path / "a", "small")
    assert [cached_hash(tmp_path / "a") for _ in range(2)] == [digest] * 2 and len(READ) == 2
    READ.clear()
    monkeypatch.setattr(hashes, "SETTLED", 60.0)
    path = tmp_path / "weights.safetensors"
    written(path, "weights of a model")
    assert cached_hash(path) == cached_hash(path) and len(READ) == 2


def test_the_cache_may_be_damaged_or_not_writable(tmp_path, monkeypatch):
    digest = written(tmp_path / "a", "weights of a model")
    cached_hash(tmp_path / "a")
    (note,) = (Path(os.environ["URBANKIT_CACHE"]) / "hashes").iterdir()
    note.write_text("[]")
    assert cached_hash(tmp_path / "a") == cached_hash(tmp_path / "a") == digest and len(READ) == 2
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("URBANKIT_CACHE", str(tmp_path / "file"))
    digest = written(tmp_path / "a", "weights of a model")
    assert cached_hash(tmp_path / "a") == digest


def test_hash_comes_from_the_file_name_in_the_hub_cache(tmp_path):
    digest = hashlib.sha256(b"weights of a model").hexdigest()
    blob, linked = tmp_path / "blobs" / digest, tmp_path / "snapshots" / "abc" / "model.safetensors"
    written(blob, "weights of a model")
    linked.parent.mkdir(parents=True)
    linked.symlink_to(blob)
    assert cached_hash(linked) == digest and not READ


def test_hash_of_a_download_is_used_until_the_file_changes(tmp_path):
    path = tmp_path / "model.safetensors"
    digest = written(path, "weights of a model")
    note = tmp_path / ".cache" / "huggingface" / "download" / "model.safetensors.metadata"
    written(note, f"{'c' * 40}\n{digest}\n{time.time()}\n")
    assert cached_hash(path) == digest and not READ
    later = time.time() + 60
    changed = written(path, "Weights of a model")
    os.utime(path, (later, later))
    assert cached_hash(path) == changed and len(READ) == 1


@pytest.mark.parametrize("note", ["", "c\nd\n1e12", f"{'c' * 40}\n{'d' * 40}\n1e12\n", f"c\n{'d' * 64}\nyesterday\n"])
def test_a_download_note_without_a_hash_is_ignored(tmp_path, note):
    path = tmp_path / "model.safetensors"
    digest = written(path, "weights of a model")
    written(tmp_path / ".cache" / "huggingface" / "download" / "model.safetensors.metadata", note)
    assert cached_hash(path) == digest


def test_hashes_of_several_files_keep_their_order(tmp_path):
    digests = [written(tmp_path / name, f"shard {name} of a model") for name in "abcdefg"]
    assert cached_hashes([tmp_path / name for name in "abcdefg"]) == digests


def test_a_damaged_note_of_a_hash_is_not_used(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    digest = written(path, "weights of a model")
    assert cached_hash(path) == digest
    [note] = (hashes.cache_folder() / "hashes").iterdir()
    note.write_text(note.read_text().replace(digest, digest[::-1]))
    assert cached_hash(path) == digest and len(READ) == 2
