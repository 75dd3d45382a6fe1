"""What a modality encoder promises."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from urbankit.city.city import City
from urbankit.modalities.base import Batch, ModalityEncoder
from urbankit.modalities.pooling import RegionEncoder
from urbankit.testing.candidate import Candidate, Check
from urbankit.testing.city import bare_city, shuffled_city, tiny_city
from urbankit.testing.modules import determinism_faults, gradient_faults, same, shape_fault, state_faults

DIM = 8
NAMES = ("rsi", "svi", "text", "location", "census")


def observes(subject: Candidate) -> Iterator[str]:
    """Its observations are numbered by region, and each gives a vector."""
    city, encoder = tiny_city(), _encoder(subject)
    region = encoder.observations()
    if not isinstance(region, np.ndarray) or region.ndim != 1 or not np.issubdtype(region.dtype, np.integer):
        yield f"observations() gives {type(region).__name__}; expected an int64 array [M], the region of each"
        return
    if (np.diff(region) < 0).any():
        yield "observations() is not sorted by region; sort the observations, stably"
    if len(region) == 0 or region.min() < 0 or region.max() >= city.n_regions:
        yield f"observations() is to name some of the regions 0 to {city.n_regions - 1}"
        return
    rows = np.arange(len(region))
    batch = encoder.load(rows)
    if wrong := [part for part in _parts(batch) if len(part) != len(rows)]:
        yield f"load() of {len(rows)} rows gives {len(wrong[0])}; expected a row for each, in the order asked for"
        return
    vectors = encoder.eval()(batch)
    yield from shape_fault("forward()", vectors, len(rows), encoder.width)
    yield from shape_fault("project()", encoder.project(vectors), len(rows), DIM)
    some = np.array([len(rows) - 1, 0])
    if not same(encoder(encoder.load(some)), vectors[some]):
        yield "load() of single rows gives others than load() of all; number rows as in observations()"


def marks_what_is_absent(subject: Candidate) -> Iterator[str]:
    """A region without an observation is masked."""
    encoder = _encoder(subject)
    vectors, present = RegionEncoder(encoder.eval()).encode(torch.arange(tiny_city().n_regions))
    owners = np.unique(encoder.observations())
    if present.nonzero().flatten().tolist() != owners.tolist() or vectors[~present].any():
        yield "regions without an observation are not masked; leave them out of observations(), not in with zeros"


def augments(subject: Candidate) -> Iterator[str]:
    """A random variant of a batch has the batch's shape and is decided by its generator."""
    encoder = _encoder(subject)
    batch = encoder.load(np.arange(len(encoder.observations())))
    one, two = (_parts(encoder.augment(batch, torch.Generator().manual_seed(7))) for _ in range(2))
    if [part.shape for part in one] != [part.shape for part in _parts(batch)]:
        yield "augment() changes the shape of a batch; give back what load() gave, in other values"
    elif not all(same(a, b, exact=True) for a, b in zip(one, two, strict=True)):
        yield "augment() gives two variants for one seed; draw from the generator that it is given alone"


def learns(subject: Candidate) -> Iterator[str]:
    """Gradients reach every trainable parameter, and `parts` names each once."""
    encoder = _encoder(subject).train()
    rows = np.arange(len(encoder.observations()))
    yield from gradient_faults(encoder, [encoder.project(encoder(encoder.load(rows)))])
    named = [id(p) for part in encoder.parts().values() for p in part]
    trainable = {id(p) for p in encoder.parameters() if p.requires_grad}
    if set(encoder.parts()) != {"backbone", "projection"} or sorted(named) != sorted(trainable):
        yield "parts() is to name every trainable parameter once, as `backbone` or `projection`"


def freezes(subject: Candidate) -> Iterator[str]:
    """`trainable` leaves learnable what it says."""
    if "trainable" not in subject.component.Params.model_fields:
        return
    for value, expected in (("projection", {"projection"}), ("none", set())):
        changed = Candidate(subject.kind, subject.name, {**subject.params, "trainable": value}, subject.given)
        left = {name for name, parameters in _encoder(changed).parts().items() if parameters}
        if left != expected:
            yield (
                f"`trainable: {value}` leaves {', '.join(sorted(left)) or 'nothing'} trainable; call "
                "self.connect(width) last in __init__, after all modules are there"
            )


def repeats(subject: Candidate) -> Iterator[str]:
    """The same seed gives the same encoder."""
    yield from determinism_faults(lambda seed: _encoder(subject, seed=seed), _pooled)
    one, two = (_encoder(subject).fingerprint() for _ in range(2))
    if one != two:
        yield "fingerprint() differs between two encoders of one city; hash what load() returns, nothing else"


def restores(subject: Candidate) -> Iterator[str]:
    """Its state is enough to have it again."""
    yield from state_faults(lambda seed: _encoder(subject, seed=seed), _pooled)


def follows_the_regions(subject: Candidate) -> Iterator[str]:
    """Regions in another order have the same vectors in that order."""
    city, order = shuffled_city()
    plain, moved = _encoder(subject).eval(), _encoder(subject, city).eval()
    # With one's state, since what is learned from a city (a vocabulary) may number its entries in the city's order.
    moved.load_state_dict(plain.state_dict())
    with torch.no_grad():
        if not same(_pooled(moved), _pooled(plain)[torch.from_numpy(order)]):
            yield (
                "of regions in another order the vectors are others; compute them from what the regions have, not from "
                "where they stand in the table"
            )


def says_what_a_city_lacks(subject: Candidate) -> Iterator[str]:
    """Of a city without its source it says so."""
    modality, cls = _modality(subject), subject.component
    reason = cls.requires(subject.validated, bare_city(), modality)
    if reason is not None and not isinstance(reason, str):
        yield f"requires() gives {reason!r}; expected None, or a line that says what the city lacks"
    elif reason is None:
        _encoder(subject, bare_city())


def _encoder(subject: Candidate, city: City | None = None, seed: int = 0) -> ModalityEncoder:
    return subject.create(city or tiny_city(), _modality(subject), DIM, seed=seed)


def _modality(subject: Candidate) -> str:
    """The modality's name: the one given, else the first that the tiny city can serve."""
    if (given := subject.given.get("modality")) is not None:
        return given
    requires = subject.component.requires
    return next((n for n in NAMES if requires(subject.validated, tiny_city(), n) is None), subject.name)


def _pooled(encoder: torch.nn.Module) -> Tensor:
    """Vectors [N, DIM] of all regions."""
    pooled, _ = RegionEncoder(encoder).encode(torch.arange(encoder.n_regions))
    return encoder.project(pooled)


def _parts(batch: Batch) -> list[Tensor]:
    return list(batch.values()) if isinstance(batch, dict) else [batch]


CHECKS: tuple[Check, ...] = (
    observes,
    marks_what_is_absent,
    augments,
    learns,
    freezes,
    repeats,
    restores,
    follows_the_regions,
    says_what_a_city_lacks,
)
