"""Captions of a city by a captioner: made batch by batch, resumed after a kill, written as JSONL and Parquet."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from urbankit import registry
from urbankit.captioners.base import Batch, Captioner
from urbankit.captioning.check import MAX_TOKENS, CaptionCheck, check_captions
from urbankit.captioning.log import CaptionLog, Record, check_settings
from urbankit.captioning.subjects import Pixels, Subjects, choose_modalities, find_subjects
from urbankit.errors import Problem, RunError, UserError, unwritable
from urbankit.files import locked, read_json, whole, write_json
from urbankit.progress import Progress
from urbankit.threads import ahead

if TYPE_CHECKING:
    from urbankit.city.city import City
    from urbankit.component import Use

SILENT_AFTER = 64
"""So many first captions without a word are a captioner that returns nothing."""

_DECODERS = 8


@dataclass
class Captions:
    """The captions of one modality in `file` (JSONL, with Parquet beside it), keyed by `image` or `region_id`.

    `skipped` counts what has no caption, by reason; `problems` name the pictures that could not be read.
    """

    modality: str
    file: Path
    key: str
    made: int
    skipped: dict[str, int]
    problems: list[Problem]
    check: CaptionCheck
    note: str | None = None

    def spec(self) -> dict[str, str]:
        """What a city.yaml says of them under `captions`; `file` relative to its own folder."""
        column = {"image": "image"} if self.key == "image" else {"region": "region_id"}
        return {"file": self.file.name, **column, "text": "caption"}


def caption_city(
    city: City,
    captioner: Use,
    out: Path,
    *,
    modalities: list[str] | None = None,
    data: Path | None = None,
    bands: list[int] | None = None,
    progress: Progress | None = None,
) -> list[Captions]:
    """Describe every image (or region) of `modalities`, by default of all, into `out/MODALITY.jsonl` and `.parquet`.

    One row a caption: `region_id` (of an image in several regions, the first), `image` (null where a region is
    described), `modality`, `caption`, `tokens` (null where the captioner counts none), `captioner`, `model`,
    `revision`, `prompt`. A picture that cannot be read has no row. For `data` and `bands` see `find_subjects`.

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
        subjects = [find_subjects(made, city, name, data, bands) for name in chosen]
    job = _Job(made, captioner.name, who, out, progress)
    try:
        with locked(out / ".lock", wait=False):
            return [job.run(one, city) for one in subjects]
    except BlockingIOError:
        raise UserError(
            Problem("another process writes captions here; wait for it, or choose another --out", out)
        ) from None
    except (FileExistsError, NotADirectoryError, PermissionError) as error:
        raise unwritable(out, "captions", error) from None


@dataclass
class _Job:
    """One captioner at work: `name` is its registered name, `who` is how messages call it."""

    captioner: Captioner
    name: str
    who: str
    out: Path
    progress: Progress

    def run(self, subjects: Subjects, city: City) -> Captions:
        file = self.out / f"{subjects.modality}.jsonl"
        with _contained(self.who, "its settings"):
            settings = {
                "captioner": self.name,
                **self.captioner.settings(subjects.modality),
                "of": subjects.source,
                "described": len(subjects),
            }
        about = self._finished(file, settings)
        if about is None:
            about = self._make(subjects, city, file, settings)
        return _opened(subjects, file, about)

    def _finished(self, file: Path, settings: dict[str, Any]) -> dict[str, Any] | None:
        """What is known of captions that were finished before."""
        about = file.with_suffix(".json")
        if not (about.is_file() and file.is_file() and file.with_suffix(".parquet").is_file()):
            return None
        try:
            found = read_json(about)
            check_settings(found["settings"], settings, about)
        except (ValueError, KeyError, TypeError):
            raise UserError(Problem("is damaged; remove it to begin anew", about)) from None
        return found

    def _make(self, subjects: Subjects, city: City, file: Path, settings: dict[str, Any]) -> dict[str, Any]:
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
            about = self._write(subjects, city, file, settings, log.records)
            log.remove()
        return about

    def _batches(self, subjects: Subjects, done: int) -> Iterator[list[Record]]:
        """The records of one batch after the other: while one is captioned the next are decoded and loaded."""
        size = self.captioner.batch_size
        places = [range(start, min(start + size, len(subjects))) for start in range(done, len(subjects), size)]
        decoders = min(_DECODERS, os.cpu_count() or 1)
        with ThreadPoolExecutor(decoders) as decode, ThreadPoolExecutor(1) as load:
            pixels = ahead(lambda chosen: (chosen, subjects.read(chosen)), places, decoders, decode)
            for chosen, problems, batch in ahead(partial(self._load, subjects), pixels, 2, load):
                yield self._caption(subjects, chosen, problems, batch)

    def _load(self, subjects: Subjects, read: tuple[range, Pixels]) -> tuple[range, dict[int, Problem], Any]:
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

    def _caption(self, subjects: Subjects, chosen: range, problems: dict[int, Problem], batch: Any) -> list[Record]:
        expected = len(chosen) - len(problems)
        texts: list[str] = []
        counts: list[int] | None = None
        if expected:
            where = _where(subjects, chosen)
            with _contained(self.who, where):
                texts = self._checked(self.captioner.caption(batch), expected, where)
                counts = self.captioner.tokens(texts)
                if counts is not None and len(counts) != expected:
                    raise ValueError(f"`tokens` counted {len(counts)} texts of {expected}")
        counted = [None] * expected if counts is None else [int(count) for count in counts]
        captions = iter([{"caption": text, "tokens": n} for text, n in zip(texts, counted, strict=True)])
        return [{"skipped": str(problems[place])} if place in problems else next(captions) for place in chosen]

    def _checked(self, texts: Any, expected: int, where: str) -> list[str]:
        """The texts, if they are what a captioner must return."""
        remedy = "`caption` must return one text for each image or region of its batch, in order"
        if texts is None:
            raise UserError(f"{self.who} returned nothing for {where}: {remedy}")
        if isinstance(texts, (str, bytes)) or not isinstance(texts, (list, tuple)):
            raise UserError(f"{self.who} returned a {type(texts).__name__} for {where}: {remedy}, as a list")
        odd = next((text for text in texts if not isinstance(text, str)), None)
        if odd is not None or None in texts:
            raise UserError(f"{self.who} returned a {type(odd).__name__} among its texts for {where}: {remedy}")
        if len(texts) != expected:
            raise UserError(f"{self.who} returned {len(texts)} texts for the {expected} of {where}: {remedy}")
        return list(texts)

    def _check_silence(self, log: CaptionLog, subjects: Subjects) -> None:
        """Stop where no word was said so far, and enough was asked to know that none will be."""
        made = sum("caption" in record for record in log.records)
        if made and (made >= SILENT_AFTER or len(log.records) == len(subjects)):
            log.remove()
            asked = self.captioner.prompt(subjects.modality)
            ask = (
                f"It was asked '{asked}': ask otherwise by --set prompts.{subjects.modality}=…, or c" if asked else "C"
            )
            raise UserError(
                f"{self.who} returned no word for any of the first {made} of {subjects.modality}. {ask}hoose another "
                "captioner or model"
            )

    def _write(
        self, subjects: Subjects, city: City, file: Path, settings: dict[str, Any], records: list[Record]
    ) -> dict[str, Any]:
        """The files of finished captions, and what is known of them, which is written last."""
        import polars as pl

        said = np.flatnonzero(["caption" in record for record in records])
        ids, images = city.region_ids, subjects.images
        text = pl.String
        table = pl.DataFrame(
            {
                "region_id": pl.Series([ids[subjects.regions[i]] for i in said], dtype=text),
                "image": pl.Series([None if images is None else images[i] for i in said], dtype=text),
                "modality": pl.Series([subjects.modality] * len(said), dtype=text),
                "caption": pl.Series([records[i]["caption"] for i in said], dtype=text),
                "tokens": pl.Series([records[i]["tokens"] for i in said], dtype=pl.Int64),
                "captioner": pl.Series([self.name] * len(said), dtype=text),
                "model": pl.Series([self.captioner.model or self.name] * len(said), dtype=text),
                "revision": pl.Series([self.captioner.revision] * len(said), dtype=text),
                "prompt": pl.Series([self.captioner.prompt(subjects.modality)] * len(said), dtype=text),
            }
        )
        about = {
            "settings": settings,
            "unreadable": [record["skipped"] for record in records if "skipped" in record],
        }
        if not len(said):
            why = Counter(about["unreadable"]).most_common(1)
            reason = f" The first: {why[0][0]}" if why else ""
            raise UserError(f"none of the {len(subjects)} of {subjects.modality} could be described.{reason}")
        with whole(file) as temporary:
            table.write_ndjson(temporary)
        with whole(file.with_suffix(".parquet")) as temporary:
            table.write_parquet(temporary)
        write_json(file.with_suffix(".json"), about)
        return about


def _opened(subjects: Subjects, file: Path, about: dict[str, Any]) -> Captions:
    """Finished captions, checked."""
    import polars as pl

    table = pl.read_parquet(file.with_suffix(".parquet"))
    key = "region_id" if subjects.images is None else "image"
    limit = about["settings"].get("max_tokens", MAX_TOKENS)
    check = check_captions(table["caption"].to_list(), table[key].to_list(), table["tokens"].to_list(), limit)
    unreadable = about["unreadable"]
    skipped = dict(subjects.dropped) | ({"that cannot be read": len(unreadable)} if unreadable else {})
    problems = [Problem(text) for text in unreadable]
    return Captions(subjects.modality, file, key, len(table), skipped, problems, check, subjects.note)


def _where(subjects: Subjects, chosen: range) -> str:
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
            remedy = "out of memory; give a smaller --set batch_size=… and the same command: it goes on"
        else:
            first = (str(error).strip().splitlines() or [""])[0]
            remedy = f"{type(error).__name__}: {first}. What was finished is kept; the same command goes on"
        raise RunError(f"{who} failed on {where}: {remedy}") from error
