"""Tables are read whole or refused with one message, whatever their encoding, line ends, types and file names."""

from __future__ import annotations

import datetime as dt
import decimal
import json
import re
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import shapely

from urbankit.city.io import text_tables
from urbankit.city.io.columns import data_columns, file_names, number_matrix, numbers, sentences, texts
from urbankit.city.io.tables import check_rows, read
from urbankit.utils.content import unlike_text
from urbankit.utils.errors import UserError

ROWS = 30_000


def damaged_parquet(path: Path, group: int) -> None:
    """Write a Parquet file of three row groups, one of them damaged."""
    pq.write_table(pa.table({"id": [f"r{i}" for i in range(ROWS)], "w": np.arange(ROWS)}), path, row_group_size=10_000)
    offset = pq.read_metadata(path).row_group(group).column(1).data_page_offset
    content = bytearray(path.read_bytes())
    content[offset : offset + 40] = bytes(byte ^ 0xFF for byte in content[offset : offset + 40])
    path.write_bytes(content)


@pytest.mark.parametrize("group", [0, 1, 2])
def test_a_parquet_file_with_a_damaged_row_group_is_refused(tmp_path: Path, group: int) -> None:
    damaged_parquet(tmp_path / "t.parquet", group)
    with pytest.raises(UserError, match=rf"t\.parquet: flows: row group {group + 1} of 3 is damaged \("):
        read(tmp_path / "t.parquet", {"region": "id"}, "flows")


def test_a_stream_that_ends_early_is_refused(tmp_path: Path) -> None:
    pl.DataFrame({"id": ["a", "b", "c"]}).write_parquet(tmp_path / "t.parquet")
    check_rows(tmp_path / "t.parquet", 3, "flows")
    with pytest.raises(UserError, match="only 2 of 3 rows could be read"):
        check_rows(tmp_path / "t.parquet", 2, "flows")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("id,v\na,1\nb,\xe9\n".encode("latin-1"), r"line 3 is not UTF-8 text \(byte 0xe9\); save the file as UTF-8"),
        ("id,v\na,1\n".encode("utf-16"), "is UTF-16 text; save it as UTF-8"),
        ("id,v\na,1\n".encode("utf-16-be"), "is UTF-16 text"),
        (b"id,v\na,\0\n", "line 2 holds a NUL byte"),
        (b"id,v,w\na,1,2\nb,2", "ends within a row: the last has 2 of 3 values"),
        (b"id,v\na,1,2\n", "line 2 has 3 values, the header 2"),
        (b'id,v\na,"1\nb,2\n', "cannot be read, it may be truncated or damaged"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "is a Git LFS pointer"),
        (b"<!DOCTYPE html><html></html>", "is an HTML page"),
        (b"PK\x03\x04abc", "is a ZIP archive or an Excel workbook"),
        (b"\x1f\x8babc", "is a gzip archive"),
    ],
)
def test_csv_file_with_other_content_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "t.csv").write_bytes(content)
    with pytest.raises(UserError, match=message):
        read(tmp_path / "t.csv", {"region": "id"}, "t")


@pytest.mark.parametrize("content", [b"id,v\ra,1\rb,2\r", b"id,v\r\na,1\r\nb,2", b"\xef\xbb\xbfid,v\na,1\nb,2\n"])
def test_csv_is_read_with_any_line_end_and_byte_order_mark(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "t.csv").write_bytes(content)
    assert read(tmp_path / "t.csv", {"region": "id"}, "t").rows() == [("a", "1"), ("b", "2")]


@pytest.mark.parametrize(
    "content",
    [
        b'\xef\xbb\xbf{"id": "a", "v": 1}\n{"id": "b", "v": null}\n',
        b'{"id": "a", "v": 1.0}\n{"id": "b", "v": NaN}\n',
        b'{"id": "a", "v": 1.0}\n{"id": "b", "v": -Infinity}',
        b'{"id": "a", "v": 1}\r{"id": "b", "v": null}\r',
    ],
)
def test_jsonl_is_read_with_byte_order_mark_nan_and_lone_cr(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "t.jsonl").write_bytes(content)
    frame = read(tmp_path / "t.jsonl", {"region": "id"}, "t")
    np.testing.assert_array_equal(numbers(frame, "v", tmp_path, "t"), [1, np.nan])


@pytest.mark.parametrize("content", [b'{"id": "a"}\n{"id": ', b'{"id": NaN}\n[1]\n', b"{" + b'"a":{' * 5000])
def test_jsonl_that_is_cut_short_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "t.jsonl").write_bytes(content)
    with pytest.raises(UserError, match="cannot be read, it may be truncated or damaged: row"):
        read(tmp_path / "t.jsonl", {"region": "id"}, "t")


@pytest.mark.parametrize(
    "name", ["t[1]", "t*", "t?", "a b", "a#b", "100%25", "é", "e\u0301", "a!b", "a&b", "{a}", "-a", "$A"]
)
@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_file_names_are_not_used_as_patterns(tmp_path: Path, name: str, suffix: str) -> None:
    folder = tmp_path / name
    folder.mkdir()
    for file, value in [(name, 5), ("t1", 100), ("ta", 100)]:
        frame = pl.DataFrame({"id": ["a"], "v": [value]})
        write = {".csv": frame.write_csv, ".jsonl": frame.write_ndjson, ".parquet": frame.write_parquet}[suffix]
        write(folder / f"{file}{suffix}")
    frame = read(folder / f"{name}{suffix}", {"region": "id"}, "t")
    assert numbers(frame, "v", folder, "t").tolist() == [5.0]


# Types of columns

TYPES: dict[str, Any] = {
    "list": pa.array([["1"], ["2"]]),
    "struct": pa.array([{"a": 1}, {"a": 2}]),
    "map": pa.array([[("a", 1)], []], pa.map_(pa.string(), pa.int64())),
    "binary": pa.array([b"1", b"2"]),
    "duration": pa.array([dt.timedelta(hours=1), None]),
}
TEXTS = {
    "time": (pa.array([dt.time(8), None]), ["08:00:00", None]),
    "date": (pa.array([dt.date(2024, 1, 2), None]), ["2024-01-02", None]),
}
NUMBERS = {
    "decimal": (pa.array([decimal.Decimal("1.50"), None]), [1.5, np.nan]),
    "dictionary": (pa.array(["1.5", "NA"]).dictionary_encode(), [1.5, np.nan]),
    "bool": (pa.array([True, None]), [1, np.nan]),
    "half": (pa.array([1.5, None], pa.float16()), [1.5, np.nan]),
    "unsigned": (pa.array([7, None], pa.uint64()), [7, np.nan]),
    "text": (pa.array([" 1.5 ", "#N/A"]), [1.5, np.nan]),
    "null": (pa.nulls(2), [np.nan, np.nan]),
}


def frame_of(path: Path, column: Any) -> pl.DataFrame:
    pq.write_table(pa.table({"id": ["a", "b"], "v": column}), path)
    return read(path, {"region": "id"}, "t")


@pytest.mark.parametrize("kind", [*TYPES, *TEXTS])
def test_column_without_numbers_is_reported_in_one_message(tmp_path: Path, kind: str) -> None:
    frame = frame_of(tmp_path / "t.parquet", TYPES[kind] if kind in TYPES else TEXTS[kind][0])
    with pytest.raises(UserError, match=r"t\.parquet: t\.v: column 'v' must hold numbers, but holds \w+"):
        numbers(frame, "v", tmp_path / "t.parquet", "t.v")


@pytest.mark.parametrize("kind", TYPES)
def test_column_without_text_is_reported_in_one_message(tmp_path: Path, kind: str) -> None:
    frame = frame_of(tmp_path / "t.parquet", TYPES[kind])
    for function in (texts, sentences):
        with pytest.raises(UserError, match=r"t\.parquet: t\.v: column 'v' must hold text.* but holds \w+"):
            function(frame, "v", tmp_path / "t.parquet", "t.v")


@pytest.mark.parametrize("kind", NUMBERS)
def test_every_numeric_column_type_is_read(tmp_path: Path, kind: str) -> None:
    column, expected = NUMBERS[kind]
    np.testing.assert_array_equal(numbers(frame_of(tmp_path / "t.parquet", column), "v", tmp_path, "t"), expected)


@pytest.mark.parametrize("kind", TEXTS)
def test_dates_and_times_are_read_as_text(tmp_path: Path, kind: str) -> None:
    column, expected = TEXTS[kind]
    assert texts(frame_of(tmp_path / "t.parquet", column), "v", tmp_path, "t").to_list() == expected


def test_words_for_missing_values_are_read_as_missing() -> None:
    frame = pl.DataFrame({"v": ["nan", "None", "N/A", "NULL", "<NA>", "#N/A", " ", "nap", "4.0"]})
    assert texts(frame, "v", Path("t"), "t").to_list() == [*[None] * 7, "nap", "4"]
    assert file_names(frame, "v", Path("t"), "t")[-1] == "4.0"
    assert texts(frame, "v", Path("t"), "t", missing=["nap"])[7] is None
    assert sentences(frame, "v", Path("t"), "t").drop_nulls().to_list() == ["nap", "4.0"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (r"a \ud800 b", r"line 2 holds \\ud800, which is no character"),
        (r"a \uDCE9", r"line 2 holds \\uDCE9"),
        (r"\ude00\ud83d", r"line 2 holds \\ude00"),
        (r"\u0000", r"line 2 holds \\u0000"),
        (r"\\\ud800", r"line 2 holds \\ud800"),
        (r"\ud83d\ude00 \\ud800 \\u0000", None),
    ],
)
def test_escapes_that_are_no_character_are_refused(tmp_path: Path, text: str, says: str | None) -> None:
    path = tmp_path / "t.jsonl"
    path.write_text('{"v": "a"}\n{"v": "' + text + '"}\n')
    if says is None:
        assert read(path, {"v": "v"}, "t")["v"].to_list() == ["a", "\U0001f600 \\ud800 \\u0000"]
    else:
        with pytest.raises(UserError, match=says):
            read(path, {"v": "v"}, "t")


def test_paths_of_pictures_have_one_form() -> None:
    frame = pl.DataFrame({"v": ["./a.png", "././b/./c//d.png", "../e.png", ".f.png"]})
    assert file_names(frame, "v", Path("t"), "t").to_list() == ["a.png", "b/c/d.png", "../e.png", ".f.png"]


def test_declared_missing_values_are_read_as_missing() -> None:
    frame = pl.DataFrame({"v": ["1", "-9999", "x"]})
    values = number_matrix(frame, ["v"], Path("t"), "t", missing=[-9999, "x"])
    np.testing.assert_array_equal(values[:, 0], [1, np.nan, np.nan])


def test_row_numbers_and_geometries_are_left_out(tmp_path: Path) -> None:
    table = gpd.GeoDataFrame({"id": ["a", "b"], "v": [3, 5]}, geometry=[shapely.Point(0, 0)] * 2, crs=4326)
    table.assign(fid=[1, 2], gid=[7, 5]).to_csv(tmp_path / "t.csv")
    table.set_index(np.array([4, 9])).to_parquet(tmp_path / "t.parquet", index=True)
    for name, expected in [("t.csv", ["v", "gid"]), ("t.parquet", ["v"])]:
        frame = read(tmp_path / name, {"region": "id"}, "t")
        columns = data_columns(frame, {"id"}, tmp_path / name, "t")
        assert columns.names == expected
        assert any("holds geometries" in note for note in columns.notes)
        assert any("without a name" in note for note in columns.notes)
    assert (
        "the column 'fid' is left aside: it counts the rows"
        in data_columns(read(tmp_path / "t.csv", {}, "t"), {"id"}, tmp_path / "t.csv", "t").notes
    )


def test_two_columns_of_one_name_are_refused(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("id,v,v\na,1,2\n")
    with pytest.raises(UserError, match="several columns have the name 'v'; rename all but one"):
        read(tmp_path / "t.csv", {"region": "id", "column": "v"}, "t")
    with pytest.raises(UserError, match="several columns have the same name: v"):
        data_columns(read(tmp_path / "t.csv", {"region": "id"}, "t"), {"id"}, tmp_path / "t.csv", "t")


def test_json_file_is_not_refused_as_a_table(tmp_path: Path) -> None:
    (tmp_path / "t.jsonl").write_text(json.dumps({"id": 1}))
    assert unlike_text(tmp_path / "t.jsonl") is None


@pytest.mark.parametrize("block", [1, 2, 7, 1 << 22])
@pytest.mark.parametrize(
    ("content", "rows"),
    [
        (b"id,v,w\na,1,2\nb\nc,3\nd,4,5\n", [2, 3]),
        (b"\xef\xbb\xbfid,v,w\r\na,1\r\n\r\nb,2,3\r\n\r\n5\r\n", [1, 5]),
        (b'id,v,w\n"a,""\n,x",1\n"b,c",1,"d\n\ne"\nf,1', [1, 3]),
        (b"id,v\ra\rb,2\r", [1]),
        (b"id\na\n\nb\n", []),
        (b"id,v\na,\n,\nb,2", []),
    ],
)
def test_rows_with_fewer_values_than_the_header_are_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes, rows: list[int], block: int
) -> None:
    monkeypatch.setattr(text_tables, "BLOCK", block)
    (tmp_path / "t.csv").write_bytes(content)
    assert text_tables.short_rows(tmp_path / "t.csv", ",").tolist() == rows


@pytest.mark.parametrize("separator", [";", "\t", "|"])
def test_another_separator_is_named_also_if_names_hold_commas(tmp_path: Path, separator: str) -> None:
    (tmp_path / "t.csv").write_text(separator.join(["id", '"a"', "b, c"]) + "\n")
    with (tmp_path / "t.csv").open("a") as stream:
        stream.write(separator.join(["x", "1,5", "2"]) + "\n")
    with pytest.raises(UserError, match=re.escape(f"separated by {separator!r}")):
        read(tmp_path / "t.csv", {"region": "a"}, "t")


def test_columns_named_level_are_data_unless_they_count_the_rows() -> None:
    frame = pl.DataFrame({"level_0": [0, 1, 2], "level_1": [7, 7, 9], "level_2": [1.5, 2.0, 2.5]})
    columns = data_columns(frame, set(), Path("t.parquet"), "t")
    assert columns.names == ["level_1", "level_2"] and "level_0" in columns.notes[0]
