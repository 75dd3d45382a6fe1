"""The conformance checks of a captioner."""

from __future__ import annotations

import json
from collections.abc import Iterator

import numpy as np

from urbankit.captioning.captioners.base import Batch, Caption, Captioner
from urbankit.testing.candidate import Candidate, Check
from urbankit.testing.city import tiny_city

MODALITY = "rsi"
SIZES = ((16, 16), (16, 24), (24, 16), (16, 16))


def describes_regions(candidate: Candidate) -> Iterator[str]:
    """`describes` returns for every region whether the data suffice for a caption."""
    mask, n = _created(candidate).describes(), tiny_city().n_regions
    if not isinstance(mask, np.ndarray) or mask.dtype != bool or mask.shape != (n,):
        yield f"describes() gives {mask!r}; expected a bool array of the city's {n} regions"


def has_constant_settings(candidate: Candidate) -> Iterator[str]:
    """The settings are JSON and the same every time, so that they identify the captions."""
    one, two = (_created(candidate).settings(MODALITY) for _ in range(2))
    try:
        json.dumps(one)
    except TypeError as error:
        yield f"settings() cannot be written as JSON ({error}); give numbers, texts, lists and dicts"
    if one != two:
        yield "settings() differs between two calls, so that no job can be resumed; leave out values that change"


def captions_each(candidate: Candidate) -> Iterator[str]:
    """It returns one `Caption` with a text for each item of a batch."""
    captioner = _created(candidate)
    batch = _batch(captioner)
    captions = captioner.caption(captioner.load(batch))
    if len(captions) != len(batch):
        yield f"caption() gives {len(captions)} captions for {len(batch)} items; return one per item"
    for caption in captions:
        if not isinstance(caption, Caption) or not isinstance(caption.text, str):
            yield f"caption() gives {caption!r}; expected urbankit.captioning.captioners.base.Caption(text)"
            return


def repeats(candidate: Candidate) -> Iterator[str]:
    """The same images have the same captions every time."""
    if _texts(candidate) != _texts(candidate):
        yield "the captions differ between two calls; draw random numbers from a generator whose seed is a parameter"


def follows_the_batch(candidate: Candidate) -> Iterator[str]:
    """A batch in another order has the same captions in that order."""
    if _texts(candidate, backwards=True) != _texts(candidate)[::-1]:
        yield "the captions depend on the order of the batch; caption each item independently"


def _created(candidate: Candidate) -> Captioner:
    return candidate.create(tiny_city())


def _texts(candidate: Candidate, backwards: bool = False) -> list[str]:
    captioner = _created(candidate)
    return [caption.text for caption in captioner.caption(captioner.load(_batch(captioner, backwards)))]


def _batch(captioner: Captioner, backwards: bool = False) -> Batch:
    """Return images of several sizes, or regions that the captioner can describe."""
    step, pixels = -1 if backwards else 1, []
    regions = np.flatnonzero(captioner.describes())[: len(SIZES)]
    if captioner.reads_images:
        rng = np.random.default_rng(0)
        regions = np.arange(len(SIZES))
        pixels = [rng.integers(0, 256, (*size, 3), dtype=np.uint8) for size in SIZES]
    return Batch(MODALITY, 0, regions[::step].astype(np.int64), pixels[::step])


CHECKS: tuple[Check, ...] = (describes_regions, has_constant_settings, captions_each, repeats, follows_the_batch)
