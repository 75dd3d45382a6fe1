"""Prepare never removes what it did not write, and makes damaged layers again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from helpers.small_city import IDS, Sources

from urbankit.city.city import City
from urbankit.city.manifest import write_manifest
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
    ("changes", "message"),
    [
        ({"files": ["../mine.txt"]}, "names a file outside the city folder"),
        ({"files": ["link/mine.txt"]}, "names a file outside"),
        ({"checks": {"../mine.txt": {"size": 4, "sha256": "0"}}}, "names a file outside"),
        ({"files": "mine.txt"}, r"parts\.tables\.x\.files: Input should be a valid list"),
        ({"report": None}, r"parts\.tables\.x\.report: Input should be a mapping"),
        ({"report": {"key": "tables.x", "rows": "many"}}, r"parts\.tables\.x\.report\.rows: "),
        ({"columns": [3]}, r"parts\.tables\.x\.columns\.0: Input should be a valid string"),
        (None, r"parts\.tables\.x: Input should be a mapping"),
    ],
)
def test_a_manifest_that_urbankit_did_not_write_is_refused(
    full: Sources, tmp_path: Path, changes: dict | None, message: str
) -> None:
    city = full.prepare()
    (tmp_path / "mine.txt").write_text("mine")
    (city.path / "link").symlink_to(tmp_path)
    (city.path.parent / "mine.txt").write_text("mine")
    manifest = json.loads((city.path / "manifest.json").read_text())
    report = {"key": "tables.x", "rows": 1, "matched": 1, "dropped": {}, "covers": None, "notes": []}
    entry = {"inputs": "0", "hash": "0", "files": [], "columns": ["v"], "report": report}
    manifest["parts"]["tables.x"] = None if changes is None else entry | changes
    (city.path / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(UserError, match=message):
        full.prepare()
    with pytest.raises(UserError, match=message):
        City.open(city.path)
    assert (tmp_path / "mine.txt").read_text() == "mine"


@pytest.mark.parametrize(
    ("key", "value"), [("regions", "nine"), ("name", 5), ("crs", {}), ("spec", []), ("without_modality", [1])]
)
def test_a_value_of_another_type_in_a_manifest_is_named(full: Sources, key: str, value: object) -> None:
    city = full.prepare()
    manifest = json.loads((city.path / "manifest.json").read_text())
    write_manifest(city.path, manifest | {key: value})
    with pytest.raises(UserError, match=rf"manifest.json: {key}.*: Input should be"):
        City.open(city.path)


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
