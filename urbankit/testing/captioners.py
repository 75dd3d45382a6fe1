"""What a captioner promises."""

from __future__ import annotations

import json
from collections.abc import Iterator

import numpy as np

from urbankit.captioning.captioners.base import Batch, Caption, Captioner
from urbankit.testing.candidate import Candidate, Check
from urbankit.testing.city import tiny_city

MODALITY = "rsi"
SIZES = ((16, 16), (16, 24), (24, 16), (16, 16))


def knows_its_regions(subject: Candidate) -> Iterator[str]:
    """It says of every region whether it knows enough to describe it."""
    known, n = _created(subject).describes(), tiny_city().n_regions
    if not isinstance(known, np.ndarray) or known.dtype != bool or known.shape != (n,):
        yield f"describes() gives {known!r}; expected a bool array of the city's {n} regions"


def settles_what_it_says(subject: Candidate) -> Iterator[str]:
    """Its settings are JSON and the same every time, so that captions of other settings are told apart."""
    one, two = (_created(subject).settings(MODALITY) for _ in range(2))
    try:
        json.dumps(one)
    except TypeError as error:
        yield f"settings() cannot be written as JSON ({error}); give numbers, texts, lists and dicts"
    if one != two:
        yield "settings() are others each time, so that no interrupted job goes on; leave out what changes"


def captions_each(subject: Candidate) -> Iterator[str]:
    """It gives one caption for each of a batch, as `Caption` with a text."""
    captioner = _created(subject)
    batch = _batch(captioner)
    found = captioner.caption(captioner.load(batch))
    if len(found) != len(batch):
        yield f"caption() gives {len(found)} captions for {len(batch)}; give one each, an empty one where there is none"
    for caption in found:
        if not isinstance(caption, Caption) or not isinstance(caption.text, str):
            yield f"caption() gives {caption!r}; expected urbankit.captioning.captioners.base.Caption(text)"
            return


def repeats(subject: Candidate) -> Iterator[str]:
    """The same images have the same captions every time."""
    if _texts(subject) != _texts(subject):
        yield "the captions are others each time; draw from a generator whose seed is a parameter"


def follows_the_batch(subject: Candidate) -> Iterator[str]:
    """A batch in another order has the same captions in that order."""
    if _texts(subject, backwards=True) != _texts(subject)[::-1]:
        yield "the captions of a batch in another order are others; describe each by itself, in the order given"


def _created(subject: Candidate) -> Captioner:
    return subject.create(tiny_city())


def _texts(subject: Candidate, backwards: bool = False) -> list[str]:
    captioner = _created(subject)
    return [caption.text for caption in captioner.caption(captioner.load(_batch(captioner, backwards)))]


def _batch(captioner: Captioner, backwards: bool = False) -> Batch:
    """Images of several sizes, or regions that the captioner knows something of."""
    step, pixels = -1 if backwards else 1, []
    regions = np.flatnonzero(captioner.describes())[: len(SIZES)]
    if captioner.reads_images:
        rng = np.random.default_rng(0)
        regions = np.arange(len(SIZES))
        pixels = [rng.integers(0, 256, (*size, 3), dtype=np.uint8) for size in SIZES]
    return Batch(MODALITY, 0, regions[::step].astype(np.int64), pixels[::step])


CHECKS: tuple[Check, ...] = (knows_its_regions, settles_what_it_says, captions_each, repeats, follows_the_batch)
