"""Finished captions: JSONL, Parquet, and a JSON file with the settings that they were made with."""

from __future__ import annotations

import io
import json
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from urbankit.captioning.log import Record, check_settings
from urbankit.captioning.sources import CaptionItems
from urbankit.city.prepare.caption_check import MAX_TOKENS, CaptionCheck, check_captions
from urbankit.utils.errors import Problem, UserError
from urbankit.utils.files import atomic_path, read_json
from urbankit.utils.json_text import parse_json

ABOUT = "urbankit"
"""Key of the Parquet file's metadata under which the content of the JSON file is."""
SCHEMA = {
    **dict.fromkeys(("region_id", "image", "modality", "caption"), pl.String),
    "tokens": pl.Int64,
    **dict.fromkeys(("captioner", "model", "revision", "prompt"), pl.String),
}
_UNREADABLE = (
    OSError, ValueError, TypeError, KeyError, UserError, pa.ArrowException, pl.exceptions.PolarsError,
    pl.exceptions.PanicException,
)  # fmt: skip


@dataclass
class CaptionFiles:
    """The captions of one modality.

    Attributes:
        modality: The image source or modality that is described.
        file: The JSONL file, with a Parquet file beside it.
        key: The column that says what a caption describes: `image` or `region_id`.
        made: The number of captions.
        skipped: The numbers of images or regions without a caption, by reason.
        unreadable: Messages about pictures that cannot be read.
        check: What is wrong with the captions.
        note: A hint for the user.
    """

    modality: str
    file: Path
    key: str
    made: int
    skipped: dict[str, int]
    unreadable: list[str]
    check: CaptionCheck
    note: str | None = None

    def spec(self) -> dict[str, str]:
        """Their entry in a city.yaml under `captions`, with the file relative to its own folder."""
        column = {"image": "image"} if self.key == "image" else {"region": "region_id"}
        return {"file": self.file.name, **column, "text": "caption"}


def write_captions(
    file: Path, items: CaptionItems, region_ids: list[str], records: list[Record], settings: dict[str, Any]
) -> None:
    """Write the JSONL `file`, then Parquet, and last the JSON file with the `settings` that they were made with."""
    rows = [row for row, record in enumerate(records) if "caption" in record]
    constant = {name: settings[name] for name in ("captioner", "model", "revision", "prompt")}
    columns = {
        "region_id": [region_ids[items.regions[row]] for row in rows],
        "image": [None if items.images is None else items.images[row] for row in rows],
        "modality": [items.modality] * len(rows),
        "caption": [records[row]["caption"] for row in rows],
        "tokens": [records[row]["tokens"] for row in rows],
        **{name: [value] * len(rows) for name, value in constant.items()},
    }
    table = pl.DataFrame(columns, schema=SCHEMA)
    unreadable = [record["skipped"] for record in records if "skipped" in record]
    about = json.dumps({"settings": settings, "unreadable": unreadable}, ensure_ascii=False)
    for path, content in _contents(file, table, about).items():
        _write(path, content)


def _contents(file: Path, table: pl.DataFrame, about: str) -> dict[Path, bytes]:
    """The files of captions with their bytes. The Parquet file holds what the others hold."""
    lines, parquet = io.BytesIO(), io.BytesIO()
    table.write_ndjson(lines)
    table.write_parquet(parquet, metadata={ABOUT: about})
    text = json.dumps(json.loads(about), ensure_ascii=False, indent=2) + "\n"
    return {
        file: lines.getvalue(),
        file.with_suffix(".parquet"): parquet.getvalue(),
        file.with_suffix(".json"): text.encode(),
    }


def _write(path: Path, content: bytes) -> None:
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)


def repair_cut(file: Path) -> list[Path]:
    """Write files of finished captions again that were cut, such as by a full disk, and return their paths.

    A file is cut if it begins like the one that urbankit wrote and ends within a value. Any other change may be an edit
    of the user, and stays.
    """
    cut = [(path, content) for path, content in _made_again(file).items() if _is_cut(path, content)]
    for path, content in cut:
        _write(path, content)
    return [path for path, _ in cut]


def _made_again(file: Path) -> dict[Path, bytes]:
    """The files as they were written: from the Parquet file or, if that is damaged, from the two others."""
    parquet = file.with_suffix(".parquet")
    with suppress(*_UNREADABLE):
        about = pq.read_metadata(parquet).metadata[ABOUT.encode()].decode()
        return _contents(file, pl.read_parquet(parquet), about)
    with suppress(*_UNREADABLE):
        settings, table = _about(file), pl.read_ndjson(file, schema=SCHEMA)
        if len(table) + len(settings["unreadable"]) == settings["settings"]["described"]:
            return _contents(file, table, json.dumps(settings, ensure_ascii=False))
    return {}


def _is_cut(path: Path, content: bytes) -> bool:
    found = path.read_bytes() if path.exists() else content
    if len(found) == len(content) or not content.startswith(found):
        return False
    try:
        parse_json(found.splitlines()[-1] if path.suffix == ".jsonl" and found else found)
    except ValueError:
        return True
    return False  # somebody removed the last captions


def is_finished(file: Path, settings: dict[str, Any]) -> bool:
    """Whether all files of these captions exist.

    Raises `UserError` if they were made with other settings, and for files of their names that urbankit may not have
    written: these are never overwritten.
    """
    about, table = file.with_suffix(".json"), file.with_suffix(".parquet")
    existing = [path for path in (file, table, about) if path.exists()]
    if about in existing:
        check_settings(_about(file)["settings"], settings, about)
    # An interruption between the files leaves some of them, and the log of all captions.
    elif existing and not file.with_suffix(".partial.jsonl").exists():
        message = f"would be overwritten, but there is no {about.name} of urbankit; choose another --out, or move it"
        raise UserError([Problem(message, path) for path in existing])
    return len(existing) == 3


def open_captions(file: Path, items: CaptionItems) -> CaptionFiles:
    """Read finished captions and check them."""
    about = _about(file)
    table = pl.read_parquet(file.with_suffix(".parquet"))
    key = "region_id" if items.images is None else "image"
    limit = about["settings"].get("max_tokens", MAX_TOKENS)
    check = check_captions(table["caption"].to_list(), table[key].to_list(), table["tokens"].to_list(), limit)
    unreadable = about["unreadable"]
    skipped = items.dropped | ({"that cannot be read": len(unreadable)} if unreadable else {})
    return CaptionFiles(items.modality, file, key, len(table), skipped, unreadable, check, items.note)


def _about(file: Path) -> dict[str, Any]:
    path = file.with_suffix(".json")
    try:
        about = read_json(path)
        return {"settings": dict(about["settings"]), "unreadable": list(about["unreadable"])}
    except (ValueError, KeyError, TypeError):
        message = "has no settings of captions: it is damaged or not urbankit's; move it, or choose another --out"
        raise UserError(Problem(message, path)) from None
