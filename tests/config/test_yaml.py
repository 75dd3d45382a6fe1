"""YAML with the line of every value, and one clear message for what is not YAML."""

import datetime
from pathlib import Path

import pytest
import yaml

from urbankit.config.tree import Node, dotted, merge, split_key
from urbankit.config.yaml import MAX_BYTES, load_mapping, load_yaml, parse_yaml
from urbankit.registry.recipes import shipped_folder
from urbankit.utils.errors import Problems, UserError


def test_every_value_has_its_line(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text("name: x\n\ntasks:\n  co:\n    steps: [1, 2]\n    list:\n      - a\n      - b: 1\n")
    tree = load_yaml(file)
    assert tree.plain() == {"name": "x", "tasks": {"co": {"steps": [1, 2], "list": ["a", {"b": 1}]}}}
    for location, line in [(("tasks", "co", "steps"), 5), (("tasks", "co", "list", 1, "b"), 8), (("name",), 1)]:
        node = tree.at(location)
        assert node is not None
        assert (node.line, node.file, node.folder) == (line, str(file), tmp_path)
    assert tree.at(("tasks", "so2")) is None


def test_scalars_follow_yaml_1_2() -> None:
    data = parse_yaml(
        "a: 1e-3\nb: no\nc: 007\nd: 2024-01-01\ne: 12:30\nf: true\ng:\nh: 1_000\ni: -2.5E+3\nj: .inf"
    ).plain()
    assert data == {
        "a": 1e-3, "b": "no", "c": "007", "d": "2024-01-01", "e": "12:30", "f": True, "g": None, "h": 1000,
        "i": -2500.0, "j": float("inf"),
    }  # fmt: skip
    assert not isinstance(data["d"], datetime.date)


def test_shipped_files_read_as_pyyaml_reads_them() -> None:
    files = list(shipped_folder().rglob("*.yaml"))
    assert files
    for file in files:
        assert load_yaml(file).plain() == yaml.safe_load(file.read_text(encoding="utf-8")), file


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ("a: 1\nb:\n\tc: 2\n", 3, "tab"),
        ("a: 1\nb: [1, 2\nc: 3\n", 3, "not valid YAML"),
        ("a: 1\nb: 2\na: 3\n", 3, "duplicate key, first in line 1"),
        ("a: &x\n  b: *x\n", 1, "alias refers to itself"),
        ("a: !!python/object:os.system {}\n", 1, "not allowed"),
        ("? [1, 2]\n: 3\n", 1, "plain text"),
        ("a: 1\n---\nb: 2\n", 2, "not valid YAML"),
        ("a: 1\nb: \0\n", 2, "control character"),
        ("a: 1\nb: !!int x\n", 2, "cannot be read as int"),
        (f"a: 1\nb: {'9' * 10_000}\n", 2, "cannot be read as int"),
        (f"a: 1\nb: {'[' * 200}{']' * 200}\n", 2, "nested more than 100 deep"),
        (f"a: 1\nb:\n  {'- ' * 100_000}1", 3, "nested more than 100 deep"),
    ],
)
def test_mistakes_name_the_line(tmp_path: Path, text: str, line: int, says: str) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text(text)
    with pytest.raises(UserError, match=says) as caught:
        load_yaml(file)
    assert caught.value.problems[0].line == line
    assert caught.value.problems[0].file == file


def test_all_duplicate_keys_are_reported() -> None:
    with pytest.raises(UserError) as caught:
        parse_yaml("a: 1\na: 2\nb: {c: 1, c: 2}\n", "x.yaml")
    assert [str(p).split(":")[1] for p in caught.value.problems] == ["2", "3"]
    assert caught.value.problems[1].key == "b.c"


def test_duplicate_keys_can_be_collected() -> None:
    problems = Problems()
    assert parse_yaml("a: 1\na: 2\n", "x.yaml", problems).plain() == {"a": 1}
    assert [str(problem) for problem in problems] == ["x.yaml:2: a: duplicate key, first in line 1; keep one of them"]


def test_missing_binary_and_large_files_and_folders_are_refused(tmp_path: Path) -> None:
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "large.yaml").write_bytes(b"#" * (MAX_BYTES + 1))
    for name, says in [("absent", "no such file"), (".", "folder"), ("binary", "UTF-8"), ("large", "larger than")]:
        with pytest.raises(UserError, match=says):
            load_yaml(tmp_path / (name if name == "." else f"{name}.yaml"))


@pytest.mark.parametrize(("text", "says"), [("", "is empty; a city has"), ("- a", "not a mapping")])
def test_file_that_is_no_mapping_is_refused_with_the_expected_form(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "a.yaml").write_text(text)
    with pytest.raises(UserError, match=says):
        load_mapping(tmp_path / "a.yaml", "a city has a name")


def test_alias_bombs_are_refused() -> None:
    rows = ["a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]"]
    rows += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 9)]
    with pytest.raises(UserError, match="expand"):
        parse_yaml("\n".join(rows))


def test_aliases_do_not_nest_deeper_than_the_limit() -> None:
    rows = ["a0: &a0 [1]", *(f"a{i}: &a{i} [*a{i - 1}]" for i in range(1, 5000))]
    with pytest.raises(UserError, match="nested more than"):
        parse_yaml("\n".join(rows))


def test_locations_are_written_as_dotted_keys() -> None:
    assert dotted(("tasks", "co", 0, "head")) == "tasks.co[0].head"
    assert split_key("tasks.co[0].head") == split_key("tasks.co.0.head") == ("tasks", "co", 0, "head")


def test_merge_keeps_the_origin_of_every_value(tmp_path: Path) -> None:
    base = parse_yaml("a: {b: 1, c: 2}\nd: 3\n", tmp_path / "base.yaml")
    over = Node.of({"a": {"c": 4}, "d": None}, "--set a.c=4", tmp_path)
    merged = merge(base, over)
    assert merged.plain() == {"a": {"b": 1, "c": 4}, "d": None}
    assert str(merged.problem_at(("a", "b"), "bad")) == f"{tmp_path / 'base.yaml'}:1: a.b: bad"
    assert str(merged.problem_at(("a", "c"), "bad")) == "--set a.c=4: a.c: bad"
    assert str(merged.problem_at(("a", "x"), "bad")) == "--set a.c=4: a.x: bad"
