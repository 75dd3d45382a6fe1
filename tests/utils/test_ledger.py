"""The ledger of a folder after a process was killed while it wrote a line."""

from pathlib import Path

import pytest

from urbankit.utils.files import write_text
from urbankit.utils.ledger import LEDGER, Ledger, start_ledger


@pytest.mark.parametrize("cut", [9, 200])
def test_a_line_that_was_not_written_to_its_end_goes_when_the_ledger_is_started_again(tmp_path: Path, cut: int):
    start_ledger(tmp_path)
    for name in ("a.txt", "b.txt"):
        write_text(tmp_path / name, name)
    ledger = tmp_path / LEDGER
    first = ledger.read_bytes().index(b"\n") + 1
    assert 9 < first < 200 < len(ledger.read_bytes())
    ledger.write_bytes(ledger.read_bytes()[:cut])

    start_ledger(tmp_path)
    assert Ledger(tmp_path).damaged_lines == []
    assert set(Ledger(tmp_path).files) == ({"a.txt"} if cut > first else set())
    write_text(tmp_path / "b.txt", "b.txt")
    assert "b.txt" in Ledger(tmp_path).files and Ledger(tmp_path).damaged_lines == []


def test_whole_lines_stay_when_the_ledger_is_started_again(tmp_path: Path):
    start_ledger(tmp_path)
    write_text(tmp_path / "a.txt", "a")
    before = (tmp_path / LEDGER).read_bytes()
    start_ledger(tmp_path)
    assert (tmp_path / LEDGER).read_bytes() == before
