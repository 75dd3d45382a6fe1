"""The conformance checks of a split."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from urbankit.evaluation.splits import BLOCKS, FRACTIONS, PARTS, FewLabels, ProbeProtocol, Split
from urbankit.testing.candidate import Candidate, Check
from urbankit.testing.city import tiny_city


def divides_the_regions(candidate: Candidate) -> Iterator[str]:
    """Its parts are sorted, disjoint and not empty."""
    if not candidate.component.sampled:
        if not issubclass(candidate.component, ProbeProtocol | FewLabels):
            yield "`sampled` is False, but the class is no ProbeProtocol or FewLabels of urbankit.evaluation.splits"
        return
    split = _split(candidate)
    if not isinstance(split, Split):
        yield f"split() returns {type(split).__name__}; expected urbankit.evaluation.splits.Split"
        return
    parts = [np.asarray(getattr(split, part)) for part in PARTS]
    regions = np.concatenate(parts)
    if any(len(part) == 0 or not np.issubdtype(part.dtype, np.integer) for part in parts):
        yield "a part is empty or has another type than integer; return the indices of regions, int64, for each part"
    elif len(np.unique(regions)) < len(regions) or regions.min() < 0 or regions.max() >= tiny_city().n_regions:
        yield f"a region is in two parts, or is not from 0 to {tiny_city().n_regions - 1}"
    elif any((np.diff(part) <= 0).any() for part in parts):
        yield "the regions of a part are not sorted"


def is_decided_by_its_seed(candidate: Candidate) -> Iterator[str]:
    """The same seed gives the same split."""
    if candidate.component.sampled:
        one, two = _split(candidate), _split(candidate)
        if any(not np.array_equal(getattr(one, part), getattr(two, part)) for part in PARTS):
            yield "two splits with one seed differ; draw random numbers from numpy.random.default_rng(seed)"


def orders_all_regions(candidate: Candidate) -> Iterator[str]:
    """A draw of few labels has every region once, and the same seed gives the same draw."""
    if issubclass(candidate.component, FewLabels):
        xy = np.asarray(tiny_city().xy)
        one, two = (np.asarray(candidate.create().order(xy, 3)) for _ in range(2))
        if sorted(one.tolist()) != list(range(len(xy))):
            yield f"order() does not return each of 0 to {len(xy) - 1} once"
        elif not np.array_equal(one, two):
            yield "two draws with one seed differ; draw random numbers from numpy.random.default_rng(seed)"


def _split(candidate: Candidate) -> Split:
    return candidate.create().split(np.asarray(tiny_city().xy), 3, FRACTIONS, BLOCKS)


CHECKS: tuple[Check, ...] = (divides_the_regions, is_decided_by_its_seed, orders_all_regions)
