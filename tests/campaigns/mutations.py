"""Random changes of a file's bytes, text, JSON tree or archive members. The same generator makes the same change."""

from __future__ import annotations

import copy
import io
import json
import random
import re
import struct
import zipfile
from collections.abc import Callable, Sequence
from typing import Any

Change = Callable[[random.Random, bytes], bytes]
"""Returns the changed content of a file."""

INTEGERS = [0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFF, 2**63 - 1, 2**64 - 1]
PIECES = [
    b"", b"\0", b"\xff", b"\xfe\xff", b"\xef\xbb\xbf", b"\x1b[2J", b'"', b"'", b"{", b"}", b"[", b"]", b"<", b": ",
    b",", b"\n", b"\r", b"\t", b"&a *a", b"!!int x", b"!!python/object/apply:os.system [x]", b"- ", b"? ", b"|",
    b".inf", b"NaN", b"-1", b"1e300", b"1e999", b"0x10", b"9" * 99, b"9" * 5000, b"[" * 200, b"{a: " * 200,
    b'{"a":' * 3000, b"\\ud800", b"\\u0000", "\u202e".encode(), b"../secret", b"/etc/passwd",
    b"/vsicurl/http://127.0.0.1:9/x", b"x" * 70_000, b"=1+1", b"(a+)+$", b"nan", b"null", b"true", b"2024-02-30",
]  # fmt: skip
"""Bytes that are inserted into files."""


def _nested(depth: int) -> Any:
    value: Any = 1
    for number in range(depth):
        value = [value] if number % 2 else {"a": value}
    return value


VALUES: list[Any] = [
    None, True, False, 0, 1, -1, 2**31, 2**63, 2**64, -(2**70), 10**400, 0.5, 1e300, float("nan"), float("inf"), "",
    " ", "\0", "x", "a/b", "../secret", "../../evil", "/etc/passwd", "~", "http://127.0.0.1:9/x", "\ud800", "\x1b[2J",
    "<b>x</b>", "=1+1", "x" * 70_000, "(a+)+$", "nan", "1e999", "2024-02-30", [], {}, [[]], [None], {"": None},
    ["x", "x"], {"name": "x"}, [0] * 10_000, {f"k{i}": i for i in range(3000)}, _nested(20), _nested(120),
]  # fmt: skip
"""Values that stand in place of others in JSON and YAML trees."""


def change_bytes(rng: random.Random, content: bytes) -> bytes:
    """Flip, overwrite, cut, insert, swap, repeat or clear bytes, one to four times."""
    for _ in range(rng.choice((1, 1, 1, 2, 3, 4))):
        content = rng.choice(BYTE_CHANGES)(rng, content)
    return content


def change_text(rng: random.Random, content: bytes) -> bytes:
    """Change words, numbers and lines of a text, or its bytes, one to four times."""
    for _ in range(rng.choice((1, 1, 1, 2, 3, 4))):
        content = rng.choice(TEXT_CHANGES if rng.random() < 0.7 else BYTE_CHANGES)(rng, content)
    return content


def _position(rng: random.Random, content: bytes) -> int:
    """A position, often in the header or at the end, where formats have their structure."""
    size, draw = len(content), rng.random()
    if draw < 0.3:
        return rng.randrange(min(size, 256) + 1)
    return rng.randrange(size + 1) if draw < 0.7 else size - rng.randrange(min(size, 512) + 1)


def _flip(rng: random.Random, content: bytes) -> bytes:
    data = bytearray(content)
    for _ in range(rng.choice((1, 1, 2, 8, 64))):
        if data:
            data[min(_position(rng, content), len(data) - 1)] ^= 1 << rng.randrange(8)
    return bytes(data)


def _overwrite(rng: random.Random, content: bytes) -> bytes:
    start, size = _position(rng, content), rng.choice((1, 2, 4, 8))
    value = rng.choice(INTEGERS) if rng.random() < 0.8 else rng.getrandbits(64)
    piece = struct.pack("<Q", value)[:size]
    return content[:start] + (piece if rng.random() < 0.5 else piece[::-1]) + content[start + size :]


def _cut(rng: random.Random, content: bytes) -> bytes:
    start = _position(rng, content)
    return content[:start] if rng.random() < 0.5 else content[:start] + content[start + rng.randrange(1, 65) :]


def _insert(rng: random.Random, content: bytes) -> bytes:
    start = _position(rng, content)
    piece = rng.choice(PIECES) if rng.random() < 0.7 else rng.randbytes(rng.randrange(1, 40))
    return content[:start] + piece + content[start:]


def _swap(rng: random.Random, content: bytes) -> bytes:
    a, b, c = sorted(_position(rng, content) for _ in range(3))
    return content[:a] + content[b:c] + content[a:b] + content[c:]


def _repeat(rng: random.Random, content: bytes) -> bytes:
    start, end = sorted(_position(rng, content) for _ in range(2))
    return content[:end] + content[start : min(end, start + 4096)] * rng.choice((1, 1, 2, 20)) + content[end:]


def _clear(rng: random.Random, content: bytes) -> bytes:
    start, size = _position(rng, content), rng.choice((4, 16, 64, 512))
    cleared = content[start : start + size]
    return content[:start] + bytes([rng.choice((0, 255))]) * len(cleared) + content[start + size :]


BYTE_CHANGES: Sequence[Change] = (_flip, _overwrite, _cut, _insert, _swap, _repeat, _clear)


def _word(rng: random.Random, content: bytes) -> bytes:
    """Put a hostile piece in place of a word or number."""
    words = list(re.finditer(rb"[\w.+-]+", content))
    if not words:
        return _insert(rng, content)
    word = rng.choice(words)
    other = rng.choice(PIECES) if rng.random() < 0.6 else rng.choice(words).group()
    return content[: word.start()] + other + content[word.end() :]


def _line(rng: random.Random, content: bytes) -> bytes:
    """Repeat, remove, move or indent a line."""
    lines = content.split(b"\n")
    row = rng.randrange(len(lines))
    kind = rng.randrange(4)
    if kind == 0:
        lines[row:row] = [lines[row]] * rng.choice((1, 2, 50))
    elif kind == 1:
        del lines[row]
    elif kind == 2:
        lines.insert(rng.randrange(len(lines)), lines.pop(row))
    else:
        lines[row] = b" " * rng.choice((1, 2, 3000)) + lines[row]
    return b"\n".join(lines)


TEXT_CHANGES: Sequence[Change] = (_word, _word, _line)


def change_tree(rng: random.Random, tree: Any, names: Sequence[str] = ()) -> Any:
    """Return a copy of a JSON tree with one to three values replaced, removed, renamed, repeated or swapped.

    `names` are keys that new entries get, such as those of a JSON Schema.
    """
    tree = copy.deepcopy(tree)
    for _ in range(rng.choice((1, 1, 2, 3))):
        holders = [holder for holder in _holders(tree) if len(holder)]
        if not holders:
            return copy.deepcopy(rng.choice(VALUES))
        holder = rng.choice(holders)
        key = rng.choice(list(holder) if isinstance(holder, dict) else range(len(holder)))
        kind = rng.randrange(6)
        if kind == 0:
            del holder[key]
        elif kind == 1 and isinstance(holder, dict):
            holder[rng.choice([*map(str, holder), *names, "x", "\0", "", "../x", "x" * 5000])] = holder.pop(key)
        elif kind == 2:
            other = rng.choice(holders)
            holder[key] = copy.deepcopy(rng.choice(list(other.values()) if isinstance(other, dict) else other))
        elif kind == 3 and isinstance(holder, dict):
            holder[rng.choice([*names, "x"])] = copy.deepcopy(rng.choice(VALUES))
        elif kind == 4 and isinstance(holder[key], int | float):
            holder[key] = rng.choice([-1, 0, 0.5, 2, 7, 10**6, 10**9, 2**63, 1e300, float("nan")])
        else:
            holder[key] = copy.deepcopy(rng.choice(VALUES))
    return tree


def _holders(tree: Any) -> list[Any]:
    """All mappings and lists of a tree."""
    holders, remaining = [], [tree]
    while remaining:
        value = remaining.pop()
        if isinstance(value, dict | list):
            holders.append(value)
            remaining += value.values() if isinstance(value, dict) else value
    return holders


def dump(tree: Any) -> bytes:
    """A tree as JSON, which is YAML too."""
    return json.dumps(tree, ensure_ascii=False).encode("utf-8", "surrogatepass")


def change_json(rng: random.Random, content: bytes) -> bytes:
    """Change the tree of a JSON text, or its text."""
    if rng.random() < 0.4:
        return change_text(rng, content)
    return dump(change_tree(rng, json.loads(content)))


def change_zip(rng: random.Random, content: bytes) -> bytes:
    """Change a member of an archive, which is packed again, or the bytes of the archive."""
    if rng.random() < 0.4:
        return change_bytes(rng, content)
    target = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as archive, zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as changed:
        members = [(info.filename, archive.read(info)) for info in archive.infolist()]
        chosen = rng.randrange(len(members))
        for number, (name, member) in enumerate(members):
            change = change_text if name.endswith((".txt", ".prj", ".cpg")) else change_bytes
            changed.writestr(name, change(rng, member) if number == chosen else member)
    return target.getvalue()
