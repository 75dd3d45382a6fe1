"""Prepare redoes only what changed, survives being killed, and leaves nothing half-written."""

import os
from pathlib import Path

import pytest
from helpers.small_city import IDS, Sources
from PIL import Image

from urbankit.city import manifest
from urbankit.city.city import City
from urbankit.city.prepare import context
from urbankit.utils.errors import RunError, UserError
from urbankit.utils.locks import LOCK


def files(folder: Path) -> dict[str, int]:
    paths = {str(path.relative_to(folder)): path for path in folder.rglob("*") if path.is_file()}
    return {name: path.stat().st_mtime_ns for name, path in paths.items() if name != LOCK}


def test_unchanged_and_touched_sources_are_not_prepared_again(full: Sources) -> None:
    city = full.prepare()
    before = files(city.path)
    assert full.prepare().content_hash == city.content_hash
    os.utime(full.folder / "poi.csv", ns=(1, 1))
    assert files(full.prepare().path) == files(city.path) == before


def test_only_changed_layers_are_prepared_again(full: Sources) -> None:
    first = full.prepare()
    before = files(first.path)
    full.csv("poi.csv", id=IDS[:2], shop=[7, 8])
    second = full.prepare()
    changed = {name for name, time in files(second.path).items() if before.get(name) != time}
    assert changed == {"poi.parquet", "manifest.json", "manifest-copy.json", "report.json"}
    assert second.content_hash != first.content_hash
    assert second.poi_counts()[0].sum() == 15


def test_changed_picture_is_prepared_again(full: Sources) -> None:
    first = full.prepare().images("svi").content_hash
    Image.new("RGB", (12, 8), (255, 255, 255)).save(full.folder / "svi/3.png")
    assert full.prepare().images("svi").content_hash != first


def test_changed_regions_prepare_all_layers_again(full: Sources) -> None:
    full.prepare()
    full.regions(ids=list(reversed(IDS)))
    city = full.prepare()
    assert city.poi_counts()[0].toarray()[:, 0].tolist() == [0, 5, 0, 0, 0, 0, 2, 0, 1]


def test_source_removed_from_the_spec_leaves_no_file(full: Sources) -> None:
    full.prepare()
    del full.spec["targets"], full.spec["images"], full.spec["captions"]["svi"]
    city = full.prepare()
    assert city.target_names == city.image_sources == []
    assert set(files(city.path)) == {
        "manifest.json", "manifest-copy.json", "report.json", "regions.parquet", "poi.parquet", "flows.parquet",
        "captions/rsi.parquet", "tables/census.parquet",
    }  # fmt: skip


@pytest.mark.parametrize("at", [0, 1, 3, 6, 8])
def test_an_interrupted_prepare_resumes_to_the_same_city(
    full: Sources, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    complete = full.prepare(out=full.folder.parent / "whole")
    write, count = manifest.write_json, 0

    def killed(path: Path, value: object) -> None:
        nonlocal count
        count += 1
        if count > at:
            raise KeyboardInterrupt
        write(path, value)

    with monkeypatch.context() as patch:
        patch.setattr(manifest, "write_json", killed)
        with pytest.raises(KeyboardInterrupt):
            full.prepare()
    with pytest.raises(UserError, match=r"not a prepared city|not prepared completely"):
        City.open(full.out)
    assert full.prepare().content_hash == complete.content_hash


def test_a_layer_that_is_made_again_leaves_the_same_manifest_and_report(full: Sources) -> None:
    full.csv("more.csv", id=IDS, first=[3, 1, 4, 1, 5, 9, 2, 6, 5], second=[2, 7, 1, 8, 2, 8, 1, 8, 3])
    full.spec["targets"] |= {
        name: {"table": "more.csv", "region": "id", "column": name} for name in ("first", "second")
    }
    city = full.prepare()
    names = ("manifest.json", "manifest-copy.json", "report.json")
    before = {name: (city.path / name).read_bytes() for name in names}
    os.truncate(city.path / "targets/first.parquet", 10)
    assert {name: (full.prepare().path / name).read_bytes() for name in names} == before


def test_layers_are_prepared_again_after_an_interrupted_and_reverted_change(
    full: Sources, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Layers are prepared again after an interrupted change of the spec, even if the change is reverted."""
    original = (full.folder / "poi.csv").read_bytes()
    first = full.prepare()
    full.csv("poi.csv", id=IDS[:2], shop=[7, 8])
    table_write = context.write_parquet

    def killed(table: object, path: Path) -> None:
        table_write(table, path)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(context, "write_parquet", killed)
        with pytest.raises(KeyboardInterrupt):
            full.prepare()
    (full.folder / "poi.csv").write_bytes(original)
    again = full.prepare()
    assert again.poi_counts()[0].sum() == first.poi_counts()[0].sum()
    assert again.content_hash == first.content_hash


def test_an_error_leaves_the_old_city_or_no_folder(full: Sources) -> None:
    full.csv("poi.csv", id=["x"], shop=[7])
    with pytest.raises(UserError, match="matches a region"):
        full.prepare()
    assert not full.out.exists()
    full.csv("poi.csv", id=IDS[:1], shop=[7])
    city = full.prepare()
    before = files(city.path)
    (full.folder / "svi/3.png").write_bytes((full.folder / "svi/3.png").read_bytes()[:40])
    with pytest.raises(UserError, match=r"3\.png"):
        full.prepare()
    assert files(city.path).keys() == before.keys()
    assert City.open(city.path).content_hash == city.content_hash


def test_all_mistakes_in_the_sources_are_reported_in_one_message(full: Sources) -> None:
    full.csv("poi.csv", id=IDS[:1], shop=["many"])
    full.csv("flows.csv", start=IDS[:1], end=IDS[:1], trips=[-3])
    full.spec["targets"]["price"]["column"] = "prise"
    full.spec["tables"]["census"]["columns"] = ["aeg"]
    with pytest.raises(UserError) as caught:
        full.prepare()
    keys = {problem.key for problem in caught.value.problems}
    assert keys == {"poi.counts", "flows.weight", "targets.price.column", "tables.census.columns[0]"}
    assert "Did you mean 'price'" in str(caught.value)


@pytest.mark.parametrize("path", ["../secret.csv", "/etc/passwd", "a/../../secret.csv", "link.csv"])
def test_paths_outside_the_data_folder_are_refused(full: Sources, path: str) -> None:
    (full.folder.parent / "secret.csv").write_text("id,shop\n000,1\n")
    (full.folder / "link.csv").symlink_to(full.folder.parent / "secret.csv")
    full.spec["poi"]["counts"] = path
    with pytest.raises(UserError, match=r"poi.counts.*leaves the data folder"):
        full.prepare()


def test_missing_files_are_named_together(full: Sources) -> None:
    full.spec["poi"]["counts"] = "pois.csv"
    full.spec["flows"]["file"] = "nowhere/flows.csv"
    with pytest.raises(UserError) as caught:
        full.prepare()
    text = str(caught.value)
    assert "Did you mean 'poi.csv'" in text and "no folder" in text
    with pytest.raises(UserError, match="no data folder"):
        full.prepare(data=full.folder / "absent")


def test_unsuitable_output_folders_are_refused(full: Sources, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(UserError, match="no folder"):
        full.prepare(out=tmp_path / "file")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/letter.txt").write_text("x")
    with pytest.raises(UserError, match="no prepared city"):
        full.prepare(out=tmp_path / "mine")
    with pytest.raises(UserError, match="cannot be created"):
        full.prepare(out=Path("/dev/null/city"))
    full.prepare()
    full.spec["name"] = "other"
    with pytest.raises(UserError, match="holds the city 'small'"):
        full.prepare()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_folder_without_write_permission_is_refused(full: Sources, tmp_path: Path) -> None:
    (tmp_path / "locked").mkdir(mode=0o500)
    with pytest.raises(UserError, match="not writable"):
        full.prepare(out=tmp_path / "locked" / "city")


def test_a_full_disk_is_reported_and_prepare_can_be_repeated(full: Sources, monkeypatch: pytest.MonkeyPatch) -> None:

    def full_disk(table: object, path: Path) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(context, "write_parquet", full_disk)
        with pytest.raises(RunError, match="disk is full"):
            full.prepare()
    assert not full.out.exists()
    assert full.prepare().n_regions == 9
