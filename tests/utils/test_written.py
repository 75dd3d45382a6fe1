"""Files that a user names with `--out`: results of a run are never replaced, files of others neither."""

import errno
from pathlib import Path

import pytest

from urbankit.utils.errors import UserError
from urbankit.utils.files import atomic_path, write_json, write_text
from urbankit.utils.ledger import start_ledger
from urbankit.utils.written import check_no_result, check_replaceable, write_own


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a ledger and a result in it."""
    monkeypatch.setenv("URBANKIT_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "run"
    folder.mkdir()
    start_ledger(folder)
    write_json(folder / "metrics.json", {"r2": 1})
    return folder


def test_a_result_of_a_run_is_never_replaced(run: Path) -> None:
    for refuse in (check_replaceable, check_no_result):
        with pytest.raises(UserError, match=r"metrics\.json: is a result in .*run; choose another file"):
            refuse(run / "metrics.json")
    with pytest.raises(UserError, match="is a result"):
        write_own(run / "metrics.json", "<html>")


def test_a_file_that_a_user_named_can_be_written_again_in_a_run_folder(run: Path) -> None:
    for text in ("one", "two", "three"):
        write_own(run / "table.tex", text)
        assert (run / "table.tex").read_text() == text
    write_text(run / "report.html", "page")
    write_own(run / "report.html", "another page")
    (run / "table.tex").write_text("mine")
    with pytest.raises(UserError, match="has changed since"):
        write_own(run / "table.tex", "four")


def test_a_file_of_others_stays(run: Path) -> None:
    (run / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match="urbankit did not write it"):
        write_own(run / "notes.txt", "text")
    check_no_result(run / "notes.txt")


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ("I/O error: File too large (os error 27)", errno.EFBIG),
        ("No space left on device", errno.ENOSPC),
        ("disk is full", errno.ENOSPC),
    ],
)
def test_a_file_without_room_is_one_error_whichever_library_reports_it(tmp_path: Path, message: str, code: int) -> None:
    with pytest.raises(OSError, match=r"x\.json") as error, atomic_path(tmp_path / "x.json"):
        raise RuntimeError(message)
    assert error.value.errno == code
    assert not list(tmp_path.iterdir())
