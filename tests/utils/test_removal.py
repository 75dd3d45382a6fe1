"""Only `urbankit/utils/removal.py` and `files.py` remove, rename or replace files, and only those of urbankit."""

from __future__ import annotations

import ast
import errno
import os
import resource
from pathlib import Path

import pytest

from urbankit.utils.files import PARTIAL, atomic_path, hash_file, write_text
from urbankit.utils.ledger import LEDGER, Ledger, start_ledger
from urbankit.utils.removal import (
    new_folder,
    remove_files,
    remove_partial_files,
    remove_recorded,
    remove_unchanged,
)

ROOT = Path(__file__).parents[2]
ALLOWED = {"urbankit/utils/files.py", "urbankit/utils/removal.py"}


def modules() -> list[Path]:
    plugins = [path for path in ROOT.glob("plugins/*/*/**/*.py") if "tests" not in path.parts]
    return [*(ROOT / "urbankit").rglob("*.py"), *plugins]


def removals(source: str) -> list[int]:
    """Lines with a call of a method that removes, renames or replaces a path."""
    lines = []
    for node in ast.walk(ast.parse(source)):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
            continue
        name, positional = node.func.attr, [arg for arg in node.args if not isinstance(arg, ast.Dict)]
        # `str.replace` has two arguments, and `rename` of a table has a mapping or keywords.
        of_path = name in ("rename", "replace") and len(positional) == len(node.args) == 1 and not node.keywords
        if name in ("unlink", "rmdir", "rmtree") or of_path:
            lines.append(node.lineno)
    return lines


def test_no_other_module_removes_or_replaces_files() -> None:
    paths = modules()
    assert len(paths) > 200
    calls = {
        str(path.relative_to(ROOT)): lines
        for path in paths
        if (lines := removals(path.read_text(encoding="utf-8"))) and str(path.relative_to(ROOT)) not in ALLOWED
    }
    assert not calls


def test_search_for_removals_distinguishes_paths_from_texts() -> None:
    assert removals("path.unlink()\na.replace(b)\na.rename(b)\nfolder.rmdir()\nshutil.rmtree(a)") == [1, 2, 3, 4, 5]
    assert removals("text.replace('a', 'b')\ntable.rename({'a': 'b'})\ntable.rename(columns={})") == []


def test_files_outside_the_folder_stay(tmp_path: Path) -> None:
    folder = tmp_path / "city"
    folder.mkdir()
    (tmp_path / "mine.txt").write_text("mine")
    (folder / "link").symlink_to(tmp_path)
    names = ["../mine.txt", "link/mine.txt", str(tmp_path / "mine.txt"), "a\0b"]
    remove_files(folder, names)
    assert remove_unchanged(folder, {name: [hash_file(tmp_path / "mine.txt")] for name in names}) == names
    assert (tmp_path / "mine.txt").read_text() == "mine"


def test_changed_files_stay_and_unchanged_files_are_removed_with_their_folder(tmp_path: Path) -> None:
    for name in ("a/b/own", "a/edited"):
        write_text(tmp_path / name, name)
    hashes = {name: [hash_file(tmp_path / name)] for name in ("a/b/own", "a/edited")} | {"a/missing": ["0"]}
    (tmp_path / "a/edited").write_text("mine")
    assert remove_unchanged(tmp_path, hashes) == ["a/edited"]
    assert [path.name for path in tmp_path.rglob("*")] == ["a", "edited"]


def test_unfinished_files_and_folders_are_removed_and_links_not_followed(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    (folder / f"{PARTIAL}export").mkdir(parents=True)
    (folder / f"{PARTIAL}export" / "a").write_text("half")
    (folder / "images").mkdir()
    (folder / "images" / f"{PARTIAL}b").write_text("half")
    (tmp_path / "mine.txt").write_text("mine")
    (folder / f"{PARTIAL}link").symlink_to(tmp_path)
    remove_partial_files(folder)
    assert not list(folder.iterdir()) and (tmp_path / "mine.txt").exists()


def test_unfinished_files_in_use_stay(tmp_path: Path) -> None:
    with atomic_path(tmp_path / "a.gpkg") as temporary, new_folder(tmp_path / "made") as folder:
        journal = temporary.with_name(temporary.name + "-journal")
        for path in (temporary, journal, folder / "b", tmp_path / f"{PARTIAL}abandoned"):
            path.write_text("half")
        remove_partial_files(tmp_path)
        assert temporary.exists() and journal.exists() and (folder / "b").exists()
        assert not (tmp_path / f"{PARTIAL}abandoned").exists()
    journal.unlink()
    assert {path.name for path in tmp_path.iterdir()} == {"a.gpkg", "made"}


def test_the_next_file_in_a_folder_removes_what_a_killed_process_left(tmp_path: Path) -> None:
    (tmp_path / f"{PARTIAL}a-12345678.csv").write_text("half")
    (tmp_path / f"{PARTIAL}folder").mkdir()
    write_text(tmp_path / "b.csv", "b")
    assert {path.name for path in tmp_path.iterdir()} == {"b.csv", f"{PARTIAL}folder"}


def test_a_file_size_limit_is_one_error_whichever_library_reports_it(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, hard))
    try:
        with pytest.raises(OSError, match=os.strerror(errno.EFBIG)), atomic_path(tmp_path / "a.gpkg") as temporary:
            temporary.with_name(temporary.stem + ".new.gpkg").write_bytes(bytes(190_000))
            raise RuntimeError("Failed to commit transaction")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not list(tmp_path.iterdir())
    with pytest.raises(RuntimeError), atomic_path(tmp_path / "a.gpkg"):
        raise RuntimeError("Failed to commit transaction")


def test_long_names_are_written(tmp_path: Path) -> None:
    write_text(tmp_path / ("é" * 120 + ".txt"), "a")
    assert [path.stem for path in tmp_path.iterdir()] == ["é" * 120]


def test_a_folder_appears_complete_or_not_at_all(tmp_path: Path) -> None:
    (tmp_path / f"{PARTIAL}made-0").mkdir()
    with pytest.raises(ValueError, match="stop"), new_folder(tmp_path / "made") as temporary:
        (temporary / "a").write_text("a")
        raise ValueError("stop")
    assert not list(tmp_path.iterdir())
    with new_folder(tmp_path / "made") as temporary:
        (temporary / "a").write_text("a")
    assert [path.name for path in tmp_path.rglob("*")] == ["made", "a"]


def test_only_recorded_files_of_a_folder_are_removed(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    start_ledger(folder)
    for name in ("metrics.json", "checkpoints/last", "edited"):
        write_text(folder / name, name)
    (folder / "edited").write_text("mine")
    (folder / "notes.md").write_text("mine")
    assert remove_recorded(folder) == ["edited", "notes.md"]
    assert {path.name for path in folder.iterdir()} == {"edited", LEDGER, "notes.md"}
    (folder / "edited").unlink()
    (folder / "notes.md").unlink()
    assert remove_recorded(folder) == [] and not folder.exists()


def test_a_ledger_accepts_the_last_two_versions_and_names_damaged_lines(tmp_path: Path) -> None:
    start_ledger(tmp_path)
    for text in ("one", "two", "three"):
        write_text(tmp_path / "a", text)
    entries = Ledger(tmp_path).files["a"]
    assert [entry["size"] for entry in entries] == [3, 5]
    content = (tmp_path / LEDGER).read_bytes()
    (tmp_path / LEDGER).write_bytes(content[:-20])  # a process was killed while it wrote the last line
    write_text(tmp_path / "b", "b")
    ledger = Ledger(tmp_path)
    assert ledger.damaged_lines == [3] and "b" in ledger.files
    remove_files(tmp_path, ["b"])
    assert "b" not in Ledger(tmp_path).files
