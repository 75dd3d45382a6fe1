"""The file that captions are kept in while they are made: whole batches, or none of them."""

from pathlib import Path

import pytest

from urbankit import UserError
from urbankit.captioning.log import CaptionLog

SETTINGS = {"captioner": "toy", "prompt": "What?", "tables": ("a", "b")}


def test_records_are_read_as_written(tmp_path: Path) -> None:
    with CaptionLog(tmp_path / "log", SETTINGS) as log:
        log.append([{"caption": "ein Weg\n\u2028über die Brücke"}, {"skipped": "x"}])
        log.append([{"caption": "b"}])
    with CaptionLog(tmp_path / "log", SETTINGS) as log:
        assert log.records == [{"caption": "ein Weg\n\u2028über die Brücke"}, {"skipped": "x"}, {"caption": "b"}]


def test_a_kill_at_any_byte_loses_the_last_batch_at_most(tmp_path: Path) -> None:
    path = tmp_path / "log"
    lengths = []
    with CaptionLog(path, SETTINGS) as log:
        lengths.append(path.stat().st_size)
        for word in ("ä", "b", "c"):
            log.append([{"caption": word}])
            lengths.append(path.stat().st_size)
    content = path.read_bytes()
    for cut in range(len(content)):
        path.write_bytes(content[:cut])
        complete = sum(length <= cut for length in lengths[1:])
        with CaptionLog(path, SETTINGS) as log:
            assert [one["caption"] for one in log.records] == ["ä", "b", "c"][:complete]
            for word in ["ä", "b", "c"][complete:]:
                log.append([{"caption": word}])
        assert path.read_bytes() == content


def test_other_settings_are_refused_by_name(tmp_path: Path) -> None:
    CaptionLog(tmp_path / "log", SETTINGS).close()
    other = SETTINGS | {"prompt": "Where?", "seed": 1}
    with pytest.raises(UserError, match=r'prompt "What\?", not "Where\?"; seed null, not 1.*another --out, or remove'):
        CaptionLog(tmp_path / "log", other)


def test_damaged_record_in_the_middle_is_refused(tmp_path: Path) -> None:
    with CaptionLog(tmp_path / "log", SETTINGS) as log:
        log.append([{"caption": "a"}])
        log.append([{"caption": "b"}])
    content = (tmp_path / "log").read_bytes()
    (tmp_path / "log").write_bytes(content.replace(b': "a"', b': "a'))
    with pytest.raises(UserError, match=r"log:2: is damaged; remove it to start again"):
        CaptionLog(tmp_path / "log", SETTINGS)
