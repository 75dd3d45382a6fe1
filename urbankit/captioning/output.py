"""Finished captions: JSONL and Parquet, and beside them what they were made by."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from urbankit.captioning.log import Record, check_settings
from urbankit.captioning.sources import CaptionSources
from urbankit.city.prepare.caption_check import MAX_TOKENS, CaptionCheck, check_captions
from urbankit.utils.errors import Problem, UserError
from urbankit.utils.files import atomic_path, read_json, write_json


@dataclass
class CaptionFiles:
    """The captions of one modality in `file` (JSONL, with Parquet beside it), keyed by `image` or `region_id`.

    `made` is how many there are; `skipped` counts what has none, by reason; `unreadable` are the messages about
    pictures; `note` is what else the user should know.
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
        """What a city.yaml says of them under `captions`, the file relative to its own folder."""
        column = {"image": "image"} if self.key == "image" else {"region": "region_id"}
        return {"file": self.file.name, **column, "text": "caption"}


def write_captions(
    file: Path, subjects: CaptionSources, region_ids: list[str], records: list[Record], settings: dict[str, Any]
) -> None:
    """Write `file`, the Parquet beside it, and last the JSON that says by which `settings` they were made."""
    said = [place for place, record in enumerate(records) if "caption" in record]
    images = subjects.images
    columns: dict[str, list[Any]] = {
        "region_id": [region_ids[subjects.regions[place]] for place in said],
        "image": [None if images is None else images[place] for place in said],
        "modality": [subjects.modality] * len(said),
        "caption": [records[place]["caption"] for place in said],
        "tokens": [records[place]["tokens"] for place in said],
        "captioner": [settings["captioner"]] * len(said),
        "model": [settings["model"]] * len(said),
        "revision": [settings["revision"]] * len(said),
        "prompt": [settings["prompt"]] * len(said),
    }
    table = pl.DataFrame(columns, schema={name: pl.Int64 if name == "tokens" else pl.String for name in columns})
    with atomic_path(file) as temporary:
        table.write_ndjson(temporary)
    with atomic_path(file.with_suffix(".parquet")) as temporary:
        table.write_parquet(temporary)
    unreadable = [record["skipped"] for record in records if "skipped" in record]
    write_json(file.with_suffix(".json"), {"settings": settings, "unreadable": unreadable})


def is_finished(file: Path, settings: dict[str, Any]) -> bool:
    """Whether the captions are there already.

    Raises `UserError` where they were made by other settings, and for files of their names that are not known to be
    urbankit's own: they may be all that a user has, and are not written over.
    """
    about, table = file.with_suffix(".json"), file.with_suffix(".parquet")
    there = [path for path in (file, table, about) if path.exists()]
    if about in there:
        check_settings(_about(file)["settings"], settings, about)
    # A kill between the files leaves some of them, and the log of all captions.
    elif there and not file.with_suffix(".partial.jsonl").exists():
        message = (
            f"would be written over, and no {about.name} says that urbankit made it; choose another --out, or move it"
        )
        raise UserError([Problem(message, path) for path in there])
    return len(there) == 3


def open_captions(file: Path, subjects: CaptionSources) -> CaptionFiles:
    """Finished captions, checked."""
    about = _about(file)
    table = pl.read_parquet(file.with_suffix(".parquet"))
    key = "region_id" if subjects.images is None else "image"
    limit = about["settings"].get("max_tokens", MAX_TOKENS)
    check = check_captions(table["caption"].to_list(), table[key].to_list(), table["tokens"].to_list(), limit)
    unreadable = about["unreadable"]
    skipped = subjects.dropped | ({"that cannot be read": len(unreadable)} if unreadable else {})
    return CaptionFiles(subjects.modality, file, key, len(table), skipped, unreadable, check, subjects.note)


def _about(file: Path) -> dict[str, Any]:
    path = file.with_suffix(".json")
    try:
        found = read_json(path)
        return {"settings": dict(found["settings"]), "unreadable": list(found["unreadable"])}
    except (ValueError, KeyError, TypeError):
        message = (
            "does not say how captions were made, so it is damaged or not urbankit's; move it, or choose another --out"
        )
        raise UserError(Problem(message, path)) from None
