"""The caption check: each flag, what it must not flag, and what it says of files and cities."""

import json
import shutil
from pathlib import Path

import pytest

from urbankit import City
from urbankit.city.prepare.caption_check import check_captions, claims


def flags(*texts: str | None, ids: list[str] | None = None, **options) -> list[set[str]]:
    check = check_captions(texts, ids or [str(i) for i in range(len(texts))], **options)
    return [set(check.flags.get(row, {})) for row in range(len(texts))]


def test_empty_and_repeated_captions_are_flagged() -> None:
    assert flags("", None, " . ", "A road.", "道路") == [{"empty"}, {"empty"}, {"empty"}, set(), set()]
    assert flags("A road.", " a  ROAD", "A river.") == [{"repeated"}, {"repeated"}, set()]
    assert flags("A road.", "A road.", ids=["a", "a"]) == [set(), set()]


def test_captions_are_flagged_as_truncated_by_tokens_or_else_by_words() -> None:
    long = " ".join(["word"] * 45)
    assert flags(long, f"{long}.", long, "a road", tokens=[77, 77, 76, 3]) == [
        {"truncated", "repeated"},
        {"repeated"},
        {"repeated"},
        set(),
    ]
    assert flags(long) == [{"truncated"}]
    assert flags(f'{long}."') == [set()]
    assert flags("a road") == [set()]
    assert flags("word " * 20, max_tokens=40) == [{"truncated"}]


@pytest.mark.parametrize(
    "text",
    [
        "There are no cars on the road. Several cars are parked.",
        "The area is densely populated. It is sparsely populated",
        "A field without any visible trees. Many tall trees line it.",
        "The place is devoid of vegetation, but full of lush greenery.",
        "A high-rise district. The low-rise houses are old.",
        "The busy street is lit. The street view shows an empty street.",
    ],
)
def test_contradictions_are_flagged(text: str) -> None:
    assert flags(text) == [{"contradicting"}]


@pytest.mark.parametrize(
    "text",
    [
        "There are no cars or trees on the road. Several people walk.",
        "The north is densely populated, while the south is sparsely populated.",
        "A mix of high-rise and low-rise buildings.",
        "There are few trees. There are no cars.",
        "No parking. Several cars are parked.",
        "A road with no trees and many cars.",
    ],
)
def test_consistent_captions_are_not_flagged(text: str) -> None:
    assert flags(text) == [set()]


def test_contradicting_captions_of_one_image_are_flagged() -> None:
    assert claims("No cars or people. There are many green trees.") == (
        ("vehicles", False, "no cars or people"),
        ("people", False, "no cars or people"),
        ("trees", True, "there are many green trees"),
    )
    texts = ["There are several cars.", "A street without cars.", "A street without cars"]
    assert flags(*texts, ids=["a", "a", "b"]) == [set(), {"contradicting", "repeated"}, {"repeated"}]


def test_a_file_of_captions_is_checked_as_text_and_json(cli, tmp_path: Path) -> None:
    rows = [
        {"image": "a.jpg", "caption": "Several cars.", "tokens": 4},
        {"image": "b.jpg", "caption": "several cars", "tokens": 3},
        {"image": "c.jpg", "caption": "", "tokens": 0},
    ]
    file = tmp_path / "svi.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    out, _ = cli("caption-check", file)
    assert "svi.jsonl: 3 captions" in out
    assert "c.jpg: no words" in out
    report = json.loads(cli("caption-check", file, "--json")[0])["svi.jsonl"]
    assert report["counts"] == {"empty": 1, "repeated": 2, "truncated": 0, "contradicting": 0}
    assert [(one["id"], list(one["flags"])) for one in report["flagged"]] == [
        ("a.jpg", ["repeated"]),
        ("b.jpg", ["repeated"]),
        ("c.jpg", ["empty"]),
    ]


def test_a_file_with_other_column_names_is_checked(cli, tmp_path: Path) -> None:
    file = tmp_path / "mine.csv"
    file.write_text("tile,says\n1,a road\n2,\n")
    assert json.loads(cli("caption-check", file, "--text", "says", "--json")[0])["mine.csv"]["counts"]["empty"] == 1
    assert (
        "there is no column 'sais'. Did you mean 'says'?" in cli("caption-check", file, "--text", "sais", status=2)[1]
    )
    assert "there is no column 'text'" in cli("caption-check", file, status=2)[1]
    assert "file not found" in cli("caption-check", tmp_path / "none.jsonl", status=2)[1]


def test_captions_of_a_city_are_checked(cli, tiny_city, city) -> None:
    reports = json.loads(cli("caption-check", tiny_city.path, "--json")[0])
    assert set(reports) == {"rsi", "svi"}
    assert reports["rsi"]["captions"] == 49
    assert "has no captions; make some with `urbankit caption`" in cli("caption-check", city.path, status=2)[1]


def test_prepare_reports_flagged_captions(sources: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(sources, tmp_path / "sources")
    ids = [f"r{number:04d}" for number in range(1, 17)]
    texts = ["There are no trees. Many trees line the road.", "word " * 50, *["A road."] * 14]
    lines = [json.dumps({"region_id": name, "text": text}) for name, text in zip(ids, texts, strict=True)]
    (folder / "odd.jsonl").write_text("\n".join(lines) + "\n")
    with (folder / "city.yaml").open("a") as stream:
        stream.write("captions:\n  rsi: {file: odd.jsonl, region: region_id, text: text}\n")
    notes = [note for key, note in City.prepare(folder / "city.yaml", out=tmp_path / "city").report.suspicious]
    assert any(note.startswith("contradicting captions") and ": 1;" in note for note in notes)
    assert any(note.startswith("truncated captions") and ": 1;" in note for note in notes)
