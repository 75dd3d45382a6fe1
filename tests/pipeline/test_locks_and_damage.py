"""Two runs in one folder, runs that are not there, caches that cannot be used, and damaged runs."""

from __future__ import annotations

import errno
import fcntl
import itertools
import os
import shutil
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from urbankit.pipeline.check import check_path
from urbankit.pipeline.resume import is_finished
from urbankit.pipeline.run import run
from urbankit.recipe import Recipe
from urbankit.runs.folder import Run
from urbankit.testing.city import bare_city
from urbankit.utils import cache
from urbankit.utils.errors import UserError
from urbankit.utils.ledger import LEDGER
from urbankit.utils.locks import LOCK, file_lock
from urbankit.utils.progress import Progress


@pytest.fixture
def bare_copy(tmp_path: Path) -> Path:
    """A copy of a small prepared city."""
    return Path(shutil.copytree(bare_city().path, tmp_path / "city"))


def completed(recipe: dict, out: Path, **options: bool) -> Run:
    return run(Recipe.load(recipe), out, progress=Progress(quiet=True), **options)


def test_second_run_in_a_folder_and_resume_without_a_run_are_refused(tiny_recipe, tmp_path: Path) -> None:
    for folder in (tmp_path / "absent", tmp_path):
        with pytest.raises(UserError, match="there is no run to resume"):
            completed(tiny_recipe, folder, resume=True)
    assert not (tmp_path / "absent").exists() and not list(tmp_path.iterdir())
    with file_lock(tmp_path / "run" / LOCK), pytest.raises(UserError, match="another run uses this folder"):
        completed(tiny_recipe, tmp_path / "run")


def test_a_finished_run_has_a_record_of_every_file_and_damage_is_named(
    tiny_recipe, tmp_path: Path, monkeypatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("URBANKIT_CACHE", str(tmp_path / "file"))
    cache._warn.cache_clear()
    with pytest.warns(cache.CacheWarning, match="URBANKIT_CACHE"):
        completed(tiny_recipe, tmp_path / "run")
    folder = tmp_path / "run"
    written = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    checked = check_path(folder)
    assert checked.problems == [] and checked.files == len(written - {LEDGER}) and LOCK not in written
    data = (folder / "metrics.parquet").read_bytes()
    (folder / "metrics.parquet").write_bytes(data[:-9] + bytes([data[-9] ^ 1]) + data[-8:])
    (folder / "metrics.json").unlink()
    assert sorted(problem.file.name for problem in check_path(folder).problems) == ["metrics.json", "metrics.parquet"]
    with pytest.raises(UserError, match=r"metrics\.parquet: is damaged"):
        _ = Run.open(folder).metrics


@pytest.mark.parametrize("share", [0, 0.4, 0.98])
def test_a_run_whose_ledger_was_cut_is_resumed(tiny_recipe, tmp_path: Path, share: float) -> None:
    folder = completed(tiny_recipe, tmp_path / "run").path
    names = ["embeddings.parquet", "predictions.parquet", "metrics.json"]
    written = [(folder / name).read_bytes() for name in names]
    ledger = folder / LEDGER
    ledger.write_bytes(ledger.read_bytes()[: int(share * ledger.stat().st_size)])
    completed(tiny_recipe, folder, resume=True)
    assert [(folder / name).read_bytes() for name in names] == written
    assert check_path(folder).problems == [] and is_finished(folder)


def test_a_finished_run_with_a_cut_or_missing_file_counts_as_unfinished(tiny_recipe, tmp_path: Path) -> None:
    folder = completed(tiny_recipe, tmp_path / "run").path
    assert is_finished(folder)
    content = (folder / "predictions.parquet").read_bytes()
    (folder / "predictions.parquet").write_bytes(content[:-1])
    assert not is_finished(folder)
    (folder / "predictions.parquet").unlink()
    assert not is_finished(folder)
    completed(tiny_recipe, folder, resume=True)
    assert is_finished(folder) and (folder / "predictions.parquet").read_bytes() == content


def test_a_finished_run_stays_finished_when_its_card_or_report_is_edited(tiny_recipe, tmp_path: Path) -> None:
    folder = completed(tiny_recipe, tmp_path / "run").path
    with (folder / "README.md").open("a") as card:
        card.write("my own remark\n")
    (folder / "report.html").unlink(missing_ok=True)
    assert is_finished(folder)


def test_check_refuses_folders_that_urbankit_did_not_write(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    for path in (tmp_path, tmp_path / "notes.txt"):
        with pytest.raises(UserError, match=r"holds nothing|is no folder"):
            check_path(path)


@pytest.mark.parametrize("content", ["[]", "{}", "{", None])
def test_a_damaged_manifest_of_a_city_is_named(bare_copy: Path, content: str | None) -> None:
    manifest = bare_copy / "manifest.json"
    manifest.unlink()
    if content is not None:
        manifest.write_text(content)
    assert [problem.file for problem in check_path(bare_copy).problems] == [manifest]


def test_run_in_a_folder_without_locks_ends_in_the_same_files(tiny_recipe, tmp_path: Path, monkeypatch) -> None:
    completed(tiny_recipe, tmp_path / "locked")

    def flock(descriptor: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", flock)
    completed(tiny_recipe, tmp_path / "free")
    locked, free = (sorted(path.name for path in (tmp_path / name).rglob("*")) for name in ("locked", "free"))
    assert locked == free
    for name in ("embeddings.parquet", "predictions.parquet"):
        assert (tmp_path / "locked" / name).read_bytes() == (tmp_path / "free" / name).read_bytes()


@pytest.mark.parametrize("jump", [-86_400, 400_000_000])
def test_clock_that_jumps_changes_no_result(tiny_recipe, tmp_path: Path, monkeypatch, jump: int) -> None:
    completed(tiny_recipe, tmp_path / "before")
    count, clock = itertools.count(), time.time
    monkeypatch.setattr(time, "time", lambda: clock() + jump * (next(count) % 2))
    completed(tiny_recipe, tmp_path / "after")
    assert check_path(tmp_path / "after").problems == []
    for name in ("embeddings.parquet", "predictions.parquet"):
        assert (tmp_path / "before" / name).read_bytes() == (tmp_path / "after" / name).read_bytes()


def test_text_that_is_not_utf_8_is_named_when_the_file_is_read(tiny_recipe, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    completed(tiny_recipe, folder)
    table = pq.read_table(folder / "history.parquet")
    stages = pa.array([b"\xf2pretrain"] * len(table), pa.binary()).cast(pa.string(), safe=False)
    changed = table.set_column(table.schema.get_field_index("stage"), "stage", pa.array(stages))
    pq.write_table(changed, folder / "history.parquet")
    (folder / LEDGER).unlink()  # somebody who changes a file may also change its hash
    with pytest.raises(UserError, match=r"history\.parquet: cannot be read .*[Uu][Tt][Ff]-?8"):
        _ = Run.open(folder).history
