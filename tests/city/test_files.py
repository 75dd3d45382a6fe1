"""An open city stays what it was, and files that were changed in place are refused."""

from __future__ import annotations

import copy
import pickle
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from helpers.small_city import IDS, Sources

from urbankit.city import files
from urbankit.city.city import City
from urbankit.city.manifest import write_manifest
from urbankit.pipeline.check import check_path
from urbankit.utils.errors import UserError
from urbankit.utils.files import write_text
from urbankit.utils.ledger import start_ledger
from urbankit.utils.paths import is_name_inside


def test_open_city_keeps_its_data_if_it_is_prepared_again(full: Sources) -> None:
    old = full.prepare()
    full.csv("poi.csv", id=IDS[:2], shop=[7, 8])
    full.csv("targets.csv", id=IDS, price=np.arange(9.0)[::-1], use=list("bbbbbaaaa"))
    new = full.prepare()
    assert new.content_hash != old.content_hash
    assert old.poi_counts()[0].sum() == 9 and new.poi_counts()[0].sum() == 15
    assert old.target("price").values[0] == 1 and new.target("price").values[0] == 8


def test_an_open_city_survives_the_removal_of_its_folder(full: Sources) -> None:
    city = full.prepare()
    shutil.rmtree(city.path)
    assert city.n_regions == len(city.regions) and city.poi_counts()[0].sum() == 9
    assert city.images("svi").read(np.array([0])).shape == (1, 3, 4, 6)
    city.check()


def test_floors_of_a_suite_are_checked_by_its_ledger(tmp_path: Path) -> None:
    start_ledger(tmp_path)
    write_text(tmp_path / "floors" / "row.parquet", "floors")
    assert check_path(tmp_path) == (1, [])
    (tmp_path / "floors" / "row.parquet").write_text("other")
    [problem] = check_path(tmp_path).problems
    assert problem.file == tmp_path / "floors" / "row.parquet"


def test_swapped_labels_and_zeroed_pixels_are_refused(full: Sources) -> None:
    city = full.prepare()
    table = pd.read_parquet(city.path / "targets/price.parquet")
    table["value"] = table["value"].to_numpy()[::-1]
    table.to_parquet(city.path / "targets/price.parquet", index=False)
    shard = city.path / "images/svi/shard-00000.npy"
    shard.write_bytes(shard.read_bytes()[:-60] + bytes(60))
    again = City.open(city.path)
    for read in (lambda: again.target("price"), lambda: again.images("svi")):
        with pytest.raises(UserError, match="is damaged, or was changed"):
            read()
    with pytest.raises(UserError) as caught:
        again.check()
    assert len(caught.value.problems) == 2
    assert len(check_path(city.path).problems) == 2
    assert full.prepare().target("price").values[0] == 1
    assert check_path(city.path).problems == []


def test_a_manifest_changed_by_hand_is_refused_and_repaired_from_its_copy(full: Sources) -> None:
    city = full.prepare()
    manifest = city.path / "manifest.json"
    original = manifest.read_bytes()
    for content in (original.replace(b'"shop"', b'"shoq"'), original[:300], b""):
        manifest.write_bytes(content)
        with pytest.raises(UserError, match="is damaged"):
            City.open(city.path)
        assert full.prepare().content_hash == city.content_hash
        assert manifest.read_bytes() == original


def test_a_missing_file_is_named_when_the_city_is_checked(full: Sources) -> None:
    city = full.prepare()
    (city.path / "flows.parquet").unlink()
    with pytest.raises(UserError, match=r"flows\.parquet: is missing"):
        City.open(city.path).check()


def test_prepare_does_not_replace_a_file_that_it_did_not_write(full: Sources) -> None:
    census = full.spec.pop("tables")
    city = full.prepare()
    (city.path / "tables").mkdir()
    (city.path / "tables/census.parquet").write_text("mine")
    full.spec["tables"] = census
    with pytest.raises(UserError, match="urbankit did not write it"):
        full.prepare()
    assert (city.path / "tables/census.parquet").read_text() == "mine"
    assert City.open(city.path).content_hash == city.content_hash


def test_city_and_its_copies_can_be_read_with_few_open_files(full: Sources, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "MOST_OPEN", 2)
    city = full.prepare()
    for other in (city, copy.deepcopy(city), pickle.loads(pickle.dumps(city))):
        other.check()
        assert other.target("price").values[0] == 1


OUTSIDE = {"../x": {"size": 1, "sha256": "0"}}


@pytest.mark.parametrize("checks", [[], 1, {"report.json": 1}, {"report.json": {"size": "1"}}, OUTSIDE])
def test_check_names_a_manifest_with_checks_of_other_types(full: Sources, checks: object) -> None:
    city = full.prepare()
    write_manifest(city.path, city.manifest | {"checks": checks})
    assert {problem.file for problem in check_path(city.path).problems} == {city.path / "manifest.json"}


def test_names_that_no_file_can_have_are_in_no_folder(tmp_path: Path) -> None:
    assert is_name_inside(tmp_path, "a") and not any(is_name_inside(tmp_path, name) for name in ("\0", "\ud800"))
