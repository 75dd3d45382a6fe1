"""Captions of a city by a captioner: made batch by batch, resumed after a kill, written as JSONL and Parquet."""

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
from urbankit.captioning.log import CaptionLog, Record
from urbankit.captioning.output import CaptionFiles, is_finished, open_captions, write_captions
from urbankit.captioning.sources import CaptionSources, Pixels, choose_modalities, find_sources
from urbankit.city.city import City
from urbankit.city.prepare.attach import attach_captions, check_attachable
from urbankit.city.spec import Captions
from urbankit.registry.component import Use
from urbankit.utils.errors import Problem, RunError, UserError, unwritable
from urbankit.utils.files import file_lock
from urbankit.utils.prefetch import prefetch
from urbankit.utils.progress import Progress

SILENT_AFTER = 64
"""So many first captions without a word are a captioner that returns nothing."""

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
    """Describe every image (or region) of `modalities`, by default of all, into `out/MODALITY.jsonl` and `.parquet`.

    One row a caption: `region_id` (of an image in several regions, the first), `image` (null where a region is
    described), `modality`, `caption`, `tokens` (null where the captioner counts none), `captioner`, `model`,
    `revision`, `prompt`. A picture that cannot be read has no row. For `data` and `bands` see `find_subjects`; with
    `attach` the captions become part of the prepared city, as by `attach_captions`.

    Finished batches are kept in `out/MODALITY.partial.jsonl`: the same call after a kill goes on from there and ends
    with the same files. What is finished is not made again.

    Raises `UserError` for what is wrong with the input, also where `out` has captions by other settings, or where the
    captioner returns nothing; `RunError` where it fails.
    """
    progress = progress or Progress(quiet=True)
    origin = next((entry.origin for entry in registry.entries("captioner") if entry.name == captioner.name), "")
    who = f"captioner '{captioner.name}' ({origin})"
    with _contained(who, f"the city '{city.name}'"):
        made = registry.create("captioner", captioner, city)
        chosen = choose_modalities(made, city, modalities)
        subjects = [find_sources(made, city, name, data, bands) for name in chosen]
    if attach:
        for name in chosen:
            check_attachable(city, name)
    job = _Job(made, captioner.name, who, out, progress)
    try:
        with file_lock(out / ".lock", wait=False):
            files = [job.run(one, city) for one in subjects]
    except BlockingIOError:
        raise UserError(
            Problem("another process writes captions here; wait for it, or choose another --out", out)
        ) from None
    except (FileExistsError, NotADirectoryError, PermissionError) as error:
        raise unwritable(out, "captions", error) from None
    if attach:
        for one in files:
            attach_captions(city, one.modality, Captions(**one.spec()), one.file.parent)
    return files


@dataclass
class _Job:
    """One captioner at work: `name` is its registered name, `who` is how messages call it."""

    captioner: Captioner
    name: str
    who: str
    out: Path
    progress: Progress

    def run(self, subjects: CaptionSources, city: City) -> CaptionFiles:
        file = self.out / f"{subjects.modality}.jsonl"
        with _contained(self.who, "its settings"):
            settings = {
                "captioner": self.name,
                **self.captioner.settings(subjects.modality),
                "model": self.captioner.model or self.name,
                "of": subjects.source,
                "described": len(subjects),
            }
        if is_finished(file, settings):
            self.progress.say(f"captions.{subjects.modality} are there already")
        else:
            self._make(subjects, city, file, settings)
        return open_captions(file, subjects)

    def _make(self, subjects: CaptionSources, city: City, file: Path, settings: dict[str, Any]) -> None:
        with CaptionLog(file.with_suffix(".partial.jsonl"), settings) as log:
            done, total = len(log.records), len(subjects)
            if done:
                self.progress.say(f"{subjects.modality}: {done:,} of {total:,} are there already; going on")
            silent = not _any_word(log.records)
            with self.progress.stage(f"captions.{subjects.modality}", total=total - done) as stage:
                for records in self._batches(subjects, done):
                    log.append(records)
                    silent = silent and not _any_word(records)
                    if silent:
                        self._check_silence(log, subjects)
                    stage.advance(len(records))
            if not any("caption" in record for record in log.records):
                log.remove()
                reason = f" The first: {log.records[0]['skipped']}" if log.records else ""
                raise UserError(f"none of the {total} of {subjects.modality} could be described.{reason}")
            write_captions(file, subjects, city.region_ids, log.records, settings)
            log.remove()

    def _batches(self, subjects: CaptionSources, done: int) -> Iterator[list[Record]]:
        """The records of one batch after the other: while one is captioned the next are decoded and loaded."""
        size = self.captioner.batch_size
        places = [range(start, min(start + size, len(subjects))) for start in range(done, len(subjects), size)]
        decoders = 1 if subjects.one_reader else min(_DECODERS, os.cpu_count() or 1)
        with ThreadPoolExecutor(decoders) as decode, ThreadPoolExecutor(1) as load:
            pixels = prefetch(lambda chosen: (chosen, subjects.read(chosen)), places, decoders, decode)
            for chosen, problems, batch in prefetch(partial(self._load, subjects), pixels, 1, load):
                yield self._caption(subjects, chosen, problems, batch)

    def _load(self, subjects: CaptionSources, read: tuple[range, Pixels]) -> tuple[range, dict[int, Problem], Any]:
        """The places of a batch, the pictures in it that cannot be read, and what the captioner made of the rest."""
        chosen, pixels = read
        problems = {place: one for place, one in zip(chosen, pixels, strict=False) if isinstance(one, Problem)}
        good = [place for place in chosen if place not in problems]
        if not good:
            return chosen, problems, None
        readable = [one for one in pixels if not isinstance(one, Problem)]
        batch = Batch(subjects.modality, chosen.start, subjects.regions[good], readable)
        with _contained(self.who, _where(subjects, chosen)):
            return chosen, problems, self.captioner.load(batch)

    def _caption(
        self, subjects: CaptionSources, chosen: range, problems: dict[int, Problem], batch: Any
    ) -> list[Record]:
        captions: list[Caption] = []
        if len(problems) < len(chosen):
            with _contained(self.who, _where(subjects, chosen)):
                made = self.captioner.caption(batch)
            if fault := _fault(made, len(chosen) - len(problems)):
                raise UserError(
                    f"{self.who} returned {fault} for {_where(subjects, chosen)}: `caption` must return a list with "
                    "one Caption(text) for each image or region of its batch, in order"
                )
            captions = made
        told = ({"caption": one.text, "tokens": None if one.tokens is None else int(one.tokens)} for one in captions)
        return [{"skipped": str(problems[place])} if place in problems else next(told) for place in chosen]

    def _check_silence(self, log: CaptionLog, subjects: CaptionSources) -> None:
        """Stop where no word was said so far, and enough was asked to know that none will be."""
        made = sum("caption" in record for record in log.records)
        if made and (made >= SILENT_AFTER or len(log.records) == len(subjects)):
            log.remove()
            asked = self.captioner.prompt(subjects.modality)
            hint = f" to '{asked}'; ask otherwise by --set prompts.{subjects.modality}=…" if asked else ""
            raise UserError(
                f"{self.who} returned no word for any of the first {made} of {subjects.modality}{hint}; or choose "
                "another captioner or model"
            )


def _fault(made: Any, expected: int) -> str | None:
    """What is wrong with what a captioner returned."""
    if made is None:
        return "nothing"
    if not isinstance(made, list):
        return f"a {type(made).__name__}"
    if len(made) != expected:
        return f"{len(made)} captions instead of {expected}"
    for one in made:
        if not isinstance(one, Caption):
            return f"a {type(one).__name__} as a caption"
        if not isinstance(one.text, str):
            return f"a {type(one.text).__name__} as the text of a caption"
        try:
            one.text.encode()
        except UnicodeEncodeError as error:
            return f"a text that is no valid Unicode ({one.text[error.start : error.end]!a}) as a caption"
        if one.tokens is not None and (isinstance(one.tokens, bool) or not isinstance(one.tokens, Integral)):
            return f"a {type(one.tokens).__name__} as the number of tokens of a caption"
        if one.tokens is not None and one.tokens < 0:
            return f"{one.tokens} as the number of tokens of a caption"
    return None


def _where(subjects: CaptionSources, chosen: range) -> str:
    return f"{subjects.modality} {chosen.start + 1} to {chosen.stop} of {len(subjects)}"


def _any_word(records: list[Record]) -> bool:
    return any(record.get("caption", "").strip() for record in records)


@contextmanager
def _contained(who: str, where: str) -> Iterator[None]:
    """Whatever a captioner raises, a plugin's too, becomes one message that names it and what to do."""
    try:
        yield
    except (UserError, RunError, OSError):
        raise
    except Exception as error:
        if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
            remedy = (
                "out of memory; give a smaller --set batch_size=… and the same command: it goes on (where tokens are "
                "drawn, batch by batch, it must begin anew)"
            )
        else:
            first = (str(error).strip().splitlines() or [""])[0]
            remedy = f"{type(error).__name__}: {first}. What was finished is kept; the same command goes on"
        raise RunError(f"{who} failed on {where}: {remedy}") from error
