"""Tables of text, CSV and JSONL: their encoding and line ends, and files that are something else."""

from __future__ import annotations

import codecs
import csv
import io
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from urbankit.city.io.source import Source
from urbankit.utils.content import unlike_text
from urbankit.utils.errors import UserError

BLOCK = 1 << 22
LONGEST_LINE = 1 << 20
UTF8_BOM = b"\xef\xbb\xbf"
_ESCAPES = (rb"\ud", rb"\uD", rb"\u0000")
_NO_CHARACTER = re.compile(
    rb"(?<!\\)(?:\\\\)*"
    rb"(\\u0000|\\u[dD][89abAB][0-9a-fA-F]{2}(?!\\u[dD][c-fC-F])"
    rb"|(?<!\\u[dD][89abAB][0-9a-fA-F]{2})\\u[dD][c-fC-F][0-9a-fA-F]{2})"
)
"""Escapes in JSON that stand for no character: NUL, and one half of a character that JSON writes as two."""

_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


@dataclass
class _Text:
    """What one pass over a text file shows."""

    has_bom: bool = False
    lone_cr: bool = False
    not_json: bool = False
    ends_with_newline: bool = True
    has_escapes: bool = False


class CSV(Source):
    """Values separated by commas, in `.tsv` by tabs. All columns are text, so that an id never passes a float."""

    suffixes = (".csv", ".tsv", ".txt")

    def scan_table(self, path: Path) -> pl.LazyFrame:
        """Return the table. Raises `UserError` for a file that is not UTF-8 text, or that ends within a row."""
        text, separator = _check_text(path), _separator(path)
        if not text.ends_with_newline:
            _check_last_row(path, separator)
        source = io.BytesIO(path.read_bytes().replace(b"\r", b"\n")) if text.lone_cr else path
        return pl.scan_csv(source, infer_schema=False, separator=separator, glob=False)

    def repeated_columns(self, path: Path) -> list[str]:
        names = csv_header(path, _separator(path))
        return [name for name in dict.fromkeys(names) if name and names.count(name) > 1]

    def notes(self, path: Path) -> list[str]:
        """Return a sentence on rows with fewer values than the header, whose last columns are read as missing."""
        rows = short_rows(path, _separator(path))
        if not len(rows):
            return []
        first = ", ".join(f"row {row:,}" for row in rows[:3])
        message = f"rows of {path.name} with fewer values than the header, of which the last columns are missing"
        return [f"{message}: {len(rows):,}, such as {first}"]

    def explain_damage(self, path: Path) -> str | None:
        row = first_long_row(path, _separator(path))
        if row is None:
            return None
        line, count, width = row
        return f"line {line} has {count} values, the header {width}; quote values that contain a separator"


class JSONLines(Source):
    """One JSON object a line. NaN and infinity, which JSON does not have, are missing."""

    suffixes = (".jsonl", ".ndjson")

    def scan_table(self, path: Path) -> pl.LazyFrame:
        """Return the table. Raises `UserError` for a file that is not UTF-8 text, or that escapes what is none."""
        text = _check_text(path)
        if text.has_escapes:
            _check_escapes(path)
        source: Path | io.BytesIO = path
        if text.not_json:
            source = io.BytesIO(b"".join(_strict_lines(path, text.lone_cr)))
        elif text.has_bom or text.lone_cr or set("*?[") & set(str(path)):  # Polars takes such a name as a pattern
            source = io.BytesIO(path.read_bytes().removeprefix(UTF8_BOM).replace(b"\r", b"\n"))
        return pl.scan_ndjson(source, infer_schema_length=None)

    def explain_damage(self, path: Path) -> str | None:
        line = first_line_not_json(path)
        return None if line is None else f"row {line} is not a JSON object"


def _separator(path: Path) -> str:
    return "\t" if path.suffix.lower() == ".tsv" else ","


def first_line_not_json(path: Path) -> int | None:
    """Return the first line of a JSONL file that is no object, counted from 1."""
    with path.open("rb") as stream:
        for number, line in enumerate(stream, start=1):
            line = line.removeprefix(UTF8_BOM) if number == 1 else line
            try:
                if line.strip() and not isinstance(json.loads(line), dict):
                    return number
            except (ValueError, RecursionError):
                return number
    return None


def first_long_row(path: Path, separator: str) -> tuple[int, int, int] | None:
    """Return the line of the first CSV row with more values than the header has, and both numbers of values."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            rows = csv.reader(stream, delimiter=separator)
            width = len(next(rows, []))
            return next(((rows.line_num, len(row), width) for row in rows if len(row) > width), None)
    except (csv.Error, ValueError):
        return None


def short_rows(path: Path, separator: str) -> NDArray[np.int64]:
    """Return the rows of a CSV file, counted from 1 after the header, that have fewer values than the header.

    Empty lines count as rows, but are not returned. Separators and line ends between quotes are part of a value.
    """
    needed = len(csv_header(path, separator)) - 1
    short = [np.empty(0, np.int64)]
    rows = separators = length = in_quotes = 0  # of the row that the last block ended in
    line_end, before = _line_end(path), 0
    for block, is_last in _blocks(path):
        text = np.frombuffer(block + bytes([line_end]) if is_last else block, np.uint8)
        is_end, is_separator = text == line_end, text == ord(separator)
        if in_quotes or b'"' in block:
            quoted = (np.cumsum(text == ord('"'), dtype=np.int32) + in_quotes) % 2
            is_end, is_separator, in_quotes = is_end & (quoted == 0), is_separator & (quoted == 0), int(quoted[-1])
        ends, positions = np.flatnonzero(is_end), np.flatnonzero(is_separator)
        counts = np.diff(np.searchsorted(positions, ends), prepend=-separators)
        lengths = np.diff(ends, prepend=-1 - length) - 1
        is_empty = (lengths == 0) | ((lengths == 1) & (np.where(ends > 0, text[ends - 1], before) == ord("\r")))
        short.append(rows + np.flatnonzero((counts < needed) & ~is_empty))
        last = int(ends[-1]) if len(ends) else -1 - length
        separators = len(positions) - int(np.searchsorted(positions, last)) + (0 if len(ends) else separators)
        rows, length, before = rows + len(ends), len(text) - 1 - last, int(text[-1])
    return np.concatenate(short)


def _line_end(path: Path) -> int:
    with path.open("rb") as stream:
        return ord("\n" if b"\n" in stream.read(LONGEST_LINE) else "\r")


def csv_header(path: Path, separator: str) -> list[str]:
    """Return the names of the columns of a CSV file as they are written, duplicates included."""
    with path.open("rb") as stream:
        start = stream.read(LONGEST_LINE).removeprefix(UTF8_BOM).decode("utf-8", errors="ignore")
    try:
        return next(csv.reader(io.StringIO(start.replace("\r\n", "\n").replace("\r", "\n")), delimiter=separator), [])
    except csv.Error:
        return []


def _check_text(path: Path) -> _Text:
    """Read a file once and refuse what is not UTF-8 text."""
    kind = unlike_text(path)
    if kind is not None:
        raise UserError(f"is {kind}")
    text, decoder, lines = _Text(), codecs.getincrementaldecoder("utf-8")(), 0
    for index, (block, is_last) in enumerate(_blocks(path)):
        if index == 0:
            _check_encoding(block, path)
            text.has_bom = block.startswith(UTF8_BOM)
        try:
            decoder.decode(block, is_last)
        except UnicodeDecodeError as error:
            line = lines + error.object[: error.start].count(b"\n") + 1
            message = (
                f"line {line} is not UTF-8 text (byte {error.object[error.start]:#04x}); save the file as UTF-8, such "
                f"as with `iconv -f CP1252 -t UTF-8 {path.name}` if it came from Excel on Windows"
            )
            raise UserError(message) from None
        if b"\0" in block:
            line = lines + block[: block.index(b"\0")].count(b"\n") + 1
            raise UserError(f"line {line} holds a NUL byte: is it a text file?")
        lines += block.count(b"\n")
        text.lone_cr = text.lone_cr or b"\r" in block
        text.not_json = text.not_json or b"NaN" in block or b"Infinity" in block
        text.has_escapes = text.has_escapes or any(escape in block for escape in _ESCAPES)
        text.ends_with_newline = block.endswith((b"\n", b"\r"))
    text.lone_cr = text.lone_cr and lines == 0
    return text


def _blocks(path: Path) -> Iterator[tuple[bytes, bool]]:
    with path.open("rb") as stream:
        block = stream.read(BLOCK)
        while block:
            following = stream.read(BLOCK)
            yield block, not following
            block = following


def _check_encoding(block: bytes, path: Path) -> None:
    """Refuse UTF-16 and UTF-32, with or without a byte order mark: every second byte of Latin text is NUL."""
    nul = block[:4096].count(b"\0")
    if block.startswith(_UTF16) or nul > len(block[:4096]) / 4:
        message = f"is UTF-16 text; save it as UTF-8, such as with `iconv -f UTF-16 -t UTF-8 {path.name}`"
        raise UserError(message)


def _check_escapes(path: Path) -> None:
    """Refuse JSON lines with escapes that stand for no character, which Polars would replace in silence."""
    with path.open("rb") as stream:
        for number, line in enumerate(stream, start=1):
            match = _NO_CHARACTER.search(line)
            if match:
                raise UserError(f"line {number} holds {match[1].decode()}, which is no character; remove it")


def _check_last_row(path: Path, separator: str) -> None:
    """Refuse a file whose last row has fewer values than the header: it was cut short."""
    with path.open("rb") as stream:
        stream.seek(max(0, path.stat().st_size - LONGEST_LINE))
        last = stream.read().splitlines()[-1].decode("utf-8", errors="ignore")
    if '"' in last:  # may be the end of a value with line breaks; Polars refuses an open quote
        return
    width, count = len(csv_header(path, separator)), last.count(separator) + 1
    if count < width:
        message = (
            f"ends within a row: the last has {count} of {width} values, so the file was cut short; fetch it again"
        )
        raise UserError(message)


def _strict_lines(path: Path, lone_cr: bool) -> Iterator[bytes]:
    """Yield the lines of a JSONL file with null in place of NaN and infinity, which JSON does not have."""

    def null(_: str) -> Any:
        return None

    content = path.read_bytes().removeprefix(UTF8_BOM)
    for line in content.split(b"\r" if lone_cr else b"\n"):
        try:
            value = json.loads(line, parse_constant=null) if line.strip() else None
        except (ValueError, RecursionError):
            yield line + b"\n"  # parsing the table reports it
            continue
        if value is not None:
            yield json.dumps(value).encode() + b"\n"
