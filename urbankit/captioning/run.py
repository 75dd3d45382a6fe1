"""Caption a city with a captioner: batch by batch, resumable, written as JSONL and Parquet."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from numbers import Integral
from pathlib import Path
from typing import Any

from urbankit import registry
from urbankit.captioning.captioners.base import Batch, Caption, Captioner
from urbankit.captioning.files import CaptionFiles, is_finished, open_captions, repair_cut, write_captions
from urbankit.captioning.log import CaptionLog, Record
from urbankit.captioning.sources import CaptionItems, Pixels, choose_modalities, find_items
from urbankit.city.city import City
from urbankit.city.prepare.attach import attach_captions, check_attachable
from urbankit.city.spec import Captions
from urbankit.registry.component import Use
from urbankit.utils.errors import Problem, RunError, UserError, unwritable
from urbankit.utils.locks import LOCK, file_lock, in_use
from urbankit.utils.prefetch import prefetch
from urbankit.utils.progress import Progress

EMPTY_AFTER = 64
"""A captioner whose first captions, this many, are all empty is stopped."""

_DECODERS = 8


def caption_city(
    city: City,
    captioner: Use,
    out: Path,
    *,
    modalities: list[str] | None = None,
    data: Path | None = None,
    bands: list[int] | None = None,
    attach: bool = False,
    progress: Progress | None = None,
) -> list[CaptionFiles]:
    """Describe every image or region into `out/MODALITY.jsonl` and `.parquet`.

    One row a caption: `region_id` (of an image in several regions, the first), `image` (null if a region is described),
    `modality`, `caption`, `tokens` (null if the captioner counts none), `captioner`, `model`, `revision`, `prompt`. A
    picture that cannot be read has no row. Finished batches are stored in `out/MODALITY.partial.jsonl`: after an
    interruption the same call continues from there and ends with the same files. Finished captions are not made again.

    Args:
        city: The prepared city.
        captioner: The captioner's name and parameters.
        out: The folder to write.
        modalities: What to describe; default all.
        data: The folder of the city's sources, to read larger images than the city stores; see `find_items`.
        bands: Red, green and blue, counted from 1; see `find_items`.
        attach: Make the captions part of the prepared city, as `attach_captions` does.
        progress: Shows long steps; default none.

    Returns:
        The files of each modality.

    Raises:
        UserError: For wrong input, if `out` has captions made with other settings, or if the captioner returns nothing.
        RunError: If the captioner fails.
    """
    progress = progress or Progress(quiet=True)
    origin = next((entry.origin for entry in registry.entries("captioner") if entry.name == captioner.name), "")
    description = f"captioner '{captioner.name}' ({origin})"
    with _explain_failure(description, f"the city '{city.name}'"):
        component = registry.create("captioner", captioner, city)
        names = choose_modalities(component, city, modalities)
        modality_items = [find_items(component, city, name, data, bands) for name in names]
    if attach:
        for name in names:
            check_attachable(city, name)
    job = _Job(component, captioner.name, description, out, progress)
    try:
        with file_lock(out / LOCK, wait=False):
            files = [job.run(items, city) for items in modality_items]
    except BlockingIOError:
        raise in_use(out, "caption") from None
    except (FileExistsError, NotADirectoryError, PermissionError) as error:
        raise unwritable(out, "captions", error) from None
    if attach:
        for captions in files:
            attach_captions(city, captions.modality, Captions(**captions.spec()), captions.file.parent)
    return files


@dataclass
class _Job:
    """One captioner at work: `name` is its registered name, `description` names it in messages."""

    captioner: Captioner
    name: str
    description: str
    out: Path
    progress: Progress

    def run(self, items: CaptionItems, city: City) -> CaptionFiles:
        file = self.out / f"{items.modality}.jsonl"
        with _explain_failure(self.description, "its settings"):
            settings = {
                "captioner": self.name,
                **self.captioner.settings(items.modality),
                "model": self.captioner.model or self.name,
                "of": items.identity,
                "described": len(items),
            }
        for path in repair_cut(file):
            self.progress.say(f"{path}: was cut after it was written, and is written again")
        if is_finished(file, settings):
            if file.with_suffix(".partial.jsonl").exists():  # killed after the captions were written
                with CaptionLog(file.with_suffix(".partial.jsonl"), settings) as log:
                    log.remove()
            self.progress.say(f"captions.{items.modality}: all exist already")
        else:
            self._caption_all(items, city, file, settings)
        return open_captions(file, items)

    def _caption_all(self, items: CaptionItems, city: City, file: Path, settings: dict[str, Any]) -> None:
        with CaptionLog(file.with_suffix(".partial.jsonl"), settings) as log:
            done, total = len(log.records), len(items)
            if done:
                self.progress.say(f"{items.modality}: {done:,} of {total:,} exist already; continuing")
            empty = not _any_word(log.records)
            with self.progress.stage(f"captions.{items.modality}", total=total - done) as stage:
                for records in self._batches(items, done):
                    log.append(records)
                    empty = empty and not _any_word(records)
                    if empty:
                        self._check_empty(log, items)
                    stage.advance(len(records))
            if not any("caption" in record for record in log.records):
                log.remove()
                reason = f" The first: {log.records[0]['skipped']}" if log.records else ""
                raise UserError(f"none of the {total} of {items.modality} could be described.{reason}")
            write_captions(file, items, city.region_ids, log.records, settings)
            log.remove()

    def _batches(self, items: CaptionItems, done: int) -> Iterator[list[Record]]:
        """The records of one batch after the other: while one is captioned, the next are decoded and loaded."""
        size = self.captioner.batch_size
        batches = [range(start, min(start + size, len(items))) for start in range(done, len(items), size)]
        decoders = 1 if items.one_reader else min(_DECODERS, os.cpu_count() or 1)
        with ThreadPoolExecutor(decoders) as decode, ThreadPoolExecutor(1) as load:
            pixels = prefetch(lambda rows: (rows, items.read(rows)), batches, decoders, decode)
            for rows, problems, batch in prefetch(partial(self._load, items), pixels, 1, load):
                yield self._caption(items, rows, problems, batch)

    def _load(self, items: CaptionItems, read: tuple[range, Pixels]) -> tuple[range, dict[int, Problem], Any]:
        """The rows of a batch, its pictures that cannot be read, and the others as the captioner loads them."""
        rows, pixels = read
        problems = {row: picture for row, picture in zip(rows, pixels, strict=False) if isinstance(picture, Problem)}
        readable = [row for row in rows if row not in problems]
        if not readable:
            return rows, problems, None
        pictures = [picture for picture in pixels if not isinstance(picture, Problem)]
        batch = Batch(items.modality, rows.start, items.regions[readable], pictures)
        with _explain_failure(self.description, _range_text(items, rows)):
            return rows, problems, self.captioner.load(batch)

    def _caption(self, items: CaptionItems, rows: range, problems: dict[int, Problem], batch: Any) -> list[Record]:
        captions: list[Caption] = []
        if len(problems) < len(rows):
            with _explain_failure(self.description, _range_text(items, rows)):
                captions = self.captioner.caption(batch)
            if fault := _fault(captions, len(rows) - len(problems)):
                raise UserError(
                    f"{self.description} returned {fault} for {_range_text(items, rows)}: `caption` must return a list "
                    "with one Caption(text) for each image or region of its batch, in order"
                )
        records = (
            {"caption": caption.text, "tokens": None if caption.tokens is None else int(caption.tokens)}
            for caption in captions
        )
        return [{"skipped": str(problems[row])} if row in problems else next(records) for row in rows]

    def _check_empty(self, log: CaptionLog, items: CaptionItems) -> None:
        """Raise `UserError` if all captions so far are empty and there are enough of them."""
        count = sum("caption" in record for record in log.records)
        if count and (count >= EMPTY_AFTER or len(log.records) == len(items)):
            log.remove()
            prompt = self.captioner.prompt(items.modality)
            hint = f" to '{prompt}'; change the prompt with --set prompts.{items.modality}=…" if prompt else ""
            raise UserError(
                f"{self.description} returned no word for any of the first {count} of {items.modality}{hint}; or "
                "choose another captioner or model"
            )


def _fault(captions: Any, expected: int) -> str | None:
    """What is wrong with the return value of a captioner, None if nothing is."""
    if captions is None:
        return "nothing"
    if not isinstance(captions, list):
        return f"a {type(captions).__name__}"
    if len(captions) != expected:
        return f"{len(captions)} captions instead of {expected}"
    for caption in captions:
        if not isinstance(caption, Caption):
            return f"a {type(caption).__name__} as a caption"
        text, tokens = caption.text, caption.tokens
        if not isinstance(text, str):
            return f"a {type(text).__name__} as the text of a caption"
        try:
            text.encode()
        except UnicodeEncodeError as error:
            return f"a text that is no valid Unicode ({text[error.start : error.end]!a}) as a caption"
        if tokens is not None and (isinstance(tokens, bool) or not isinstance(tokens, Integral)):
            return f"a {type(tokens).__name__} as the number of tokens of a caption"
        if tokens is not None and tokens < 0:
            return f"{tokens} as the number of tokens of a caption"
    return None


def _range_text(items: CaptionItems, rows: range) -> str:
    return f"{items.modality} {rows.start + 1} to {rows.stop} of {len(items)}"


def _any_word(records: list[Record]) -> bool:
    return any(record.get("caption", "").strip() for record in records)


@contextmanager
def _explain_failure(captioner: str, task: str) -> Iterator[None]:
    """Turn any error of a captioner, also a plugin's, into one message with its name and a remedy."""
    try:
        yield
    except (UserError, RunError, OSError):
        raise
    except Exception as error:
        if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
            remedy = (
                "out of memory; run the same command with a smaller --set batch_size=… to continue (if tokens are "
                "drawn at random, captioning starts again from the first image)"
            )
        else:
            first = (str(error).strip().splitlines() or [""])[0]
            remedy = f"{type(error).__name__}: {first}. Finished captions are saved; run the same command to continue"
        raise RunError(f"{captioner} failed on {task}: {remedy}") from error
