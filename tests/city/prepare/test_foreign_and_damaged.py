"""Prepare never removes what it did not write, and makes damaged layers again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from helpers.small_city import IDS, Sources

from urbankit.city.city import City
from urbankit.utils.errors import UserError
from urbankit.utils.files import PARTIAL


@pytest.mark.parametrize("name", [".env", ".git/config", "notes.txt"])
def test_folder_with_foreign_files_is_refused_and_unchanged(full: Sources, tmp_path: Path, name: str) -> None:
    out = tmp_path / "prepared"
    path = out / name
    path.parent.mkdir(parents=True)
    path.write_text("mine")
    with pytest.raises(UserError, match=r"is no prepared city \(it holds "):
        full.prepare()
    assert [p for p in out.rglob("*") if p.is_file()] == [path] and path.read_text() == "mine"


@pytest.mark.parametrize("name", ["captions", "images/rsi"])
def test_empty_folders_that_a_killed_prepare_made_are_accepted(full: Sources, name: str) -> None:
    (full.out / name).mkdir(parents=True)
    assert full.prepare().n_regions == len(IDS)


def test_foreign_files_in_a_city_stay_and_unfinished_files_are_removed(full: Sources) -> None:
    city = full.prepare()
    (city.path / ".env").write_text("mine")
    (city.path / "tables" / ".hidden").write_text("mine")
    full.csv("poi.csv", id=IDS[:1], shop=[7])
    full.prepare()
    assert (city.path / ".env").read_text() == "mine" == (city.path / "tables" / ".hidden").read_text()
    (city.path / f"{PARTIAL}poi-abc.parquet").write_bytes(b"half")
    (city.path / "report.json").unlink()
    full.prepare()
    assert not list(city.path.rglob(f"{PARTIAL}*"))


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"inputs": "0", "hash": "0", "files": ["../mine.txt"], "report": {}}, "names a file outside the city folder"),
        ({"inputs": "0", "hash": "0", "files": ["link/mine.txt"], "report": {}}, "names a file outside"),
        ({"inputs": "0", "hash": "0", "files": "mine.txt", "report": {}}, "is no list of files"),
        ({"inputs": "0", "hash": "0", "files": []}, "has no report"),
        (7, "is no entry of a layer"),
    ],
)
def test_a_manifest_cannot_name_files_outside_the_city(
    full: Sources, tmp_path: Path, entry: object, message: str
) -> None:
    city = full.prepare()
    (tmp_path / "mine.txt").write_text("mine")
    (city.path / "link").symlink_to(tmp_path)
    (city.path.parent / "mine.txt").write_text("mine")
    manifest = json.loads((city.path / "manifest.json").read_text())
    manifest["parts"]["tables.x"] = entry
    (city.path / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(UserError, match=message):
        full.prepare()
    with pytest.raises(UserError, match=message):
        City.open(city.path)
    assert (tmp_path / "mine.txt").read_text() == "mine"


def test_shortened_file_is_reported_when_read_and_rebuilt_by_prepare(full: Sources) -> None:
    city = full.prepare()
    expected = city.poi_counts()[0].toarray()
    data = (city.path / "poi.parquet").read_bytes()
    (city.path / "poi.parquet").write_bytes(data[:200])
    with pytest.raises(UserError, match="is damaged"):
        City.open(city.path).poi_counts()
    assert (full.prepare().poi_counts()[0].toarray() == expected).all()
    assert (city.path / "poi.parquet").read_bytes() == data


@pytest.mark.parametrize("pattern", ["poi.parquet", "targets/*.parquet", "images/svi/shard-00000.npy"])
def test_file_with_a_changed_byte_is_rebuilt_by_prepare(full: Sources, pattern: str) -> None:
    city = full.prepare()
    path = next(city.path.glob(pattern))
    data = path.read_bytes()
    path.write_bytes(data[:-9] + bytes([data[-9] ^ 1]) + data[-8:])
    full.prepare()
    assert path.read_bytes() == data
