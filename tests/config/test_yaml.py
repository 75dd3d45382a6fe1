"""YAML with the line of every key, and one clear message for what is not YAML."""

from __future__ import annotations

import datetime
from pathlib import Path

import pytest

from urbankit.config.yaml import dotted, load_yaml, parse_yaml
from urbankit.utils.errors import UserError


def test_every_key_and_item_has_its_line(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text("name: x\n\ntasks:\n  co:\n    steps: [1, 2]\n    list:\n      - a\n      - b: 1\n")
    data, lines = load_yaml(file)
    assert data == {"name": "x", "tasks": {"co": {"steps": [1, 2], "list": ["a", {"b": 1}]}}}
    assert lines[("tasks", "co", "steps")] == 5
    assert lines[("tasks", "co", "list", 1, "b")] == 8
    assert lines[("name",)] == 1


def test_scalars_are_yaml_1_2() -> None:
    data, _ = parse_yaml("a: 1e-3\nb: no\nc: 007\nd: 2024-01-01\ne: 12:30\nf: true\ng:\nh: 1_000\ni: -2.5E+3\nj: .inf")
    assert data == {
        "a": 1e-3, "b": "no", "c": "007", "d": "2024-01-01", "e": "12:30", "f": True, "g": None, "h": 1000,
        "i": -2500.0, "j": float("inf"),
    }  # fmt: skip
    assert not isinstance(data["d"], datetime.date)


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ("a: 1\nb:\n\tc: 2\n", 3, "tab"),
        ("a: 1\nb: [1, 2\nc: 3\n", 3, "not valid YAML"),
        ("a: 1\nb: 2\na: 3\n", 3, "given twice, first in line 1"),
        ("a: &x\n  b: *x\n", 1, "alias refers to itself"),
        ("a: !!python/object:os.system {}\n", 1, "not allowed"),
        ("? [1, 2]\n: 3\n", 1, "plain text"),
        ("a: 1\n---\nb: 2\n", 2, "not valid YAML"),
    ],
)
def test_mistakes_name_the_line(tmp_path: Path, text: str, line: int, says: str) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text(text)
    with pytest.raises(UserError, match=says) as caught:
        load_yaml(file)
    assert caught.value.problems[0].line == line
    assert caught.value.problems[0].file == file


def test_all_duplicate_keys_are_told_at_once() -> None:
    with pytest.raises(UserError) as caught:
        parse_yaml("a: 1\na: 2\nb: {c: 1, c: 2}\n", "x.yaml")
    assert [str(p).split(":")[1] for p in caught.value.problems] == ["2", "3"]
    assert caught.value.problems[1].key == "b.c"


def test_missing_folder_and_binary_files(tmp_path: Path) -> None:
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    for name, says in [("absent.yaml", "no such file"), (".", "folder"), ("binary.yaml", "UTF-8")]:
        with pytest.raises(UserError, match=says):
            load_yaml(tmp_path / name)


def test_alias_bombs_are_refused() -> None:
    rows = ["a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]"]
    rows += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 9)]
    with pytest.raises(UserError, match="expand"):
        parse_yaml("\n".join(rows))


def test_dotted_paths() -> None:
    assert dotted(("tasks", "co", 0, "head")) == "tasks.co[0].head"
