"""The short form of the campaign of mutated files; the long form is a command, see docs/reliability.md."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from campaigns.attempts import FAILED, attempts
from campaigns.mutate import CASES

COUNT, SEED = 15, 0


@pytest.mark.parametrize("name", CASES)
def test_mutated_files_are_read_or_refused(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for part in ("files", "tmp"):
        (tmp_path / part).mkdir()
    monkeypatch.setenv("URBANKIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    monkeypatch.chdir(tmp_path / "files")
    case = CASES[name](tmp_path / "files")
    results = [*attempts(name, case, range(COUNT), SEED, tmp_path / "failures", tmp_path)]
    failures = [f"number {one.number}: {one.reason}" for one in results if one.outcome == FAILED]
    assert len(results) == COUNT and not failures, "\n".join(failures)
