"""The conformance checks of a modality encoder."""

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


def observes(candidate: Candidate) -> Iterator[str]:
    """`observations` returns the region of each observation, and every observation has a vector."""
    city, encoder = tiny_city(), _encoder(candidate)
    region = encoder.observations()
    if not isinstance(region, np.ndarray) or region.ndim != 1 or not np.issubdtype(region.dtype, np.integer):
        yield f"observations() gives {type(region).__name__}; expected an int64 array [M], the region of each"
        return
    if (np.diff(region) < 0).any():
        yield "observations() is not sorted by region; sort the observations, stably"
    if len(region) == 0 or region.min() < 0 or region.max() >= city.n_regions:
        yield f"observations() must contain regions from 0 to {city.n_regions - 1}"
        return
    rows = np.arange(len(region))
    batch = encoder.load(rows)
    if wrong := [tensor for tensor in _tensors(batch) if len(tensor) != len(rows)]:
        yield f"load() of {len(rows)} rows gives {len(wrong[0])}; expected one item per row, in the order of the rows"
        return
    vectors = encoder.eval()(batch)
    yield from shape_fault("forward()", vectors, len(rows), encoder.width)
    yield from shape_fault("project()", encoder.project(vectors), len(rows), DIM)
    selected = np.array([len(rows) - 1, 0])
    if not same(encoder(encoder.load(selected)), vectors[selected]):
        yield "load() of single rows differs from load() of all rows; number rows as in observations()"


def masks_absent_regions(candidate: Candidate) -> Iterator[str]:
    """A region without an observation is masked."""
    encoder = _encoder(candidate)
    vectors, present = RegionEncoder(encoder.eval()).encode(torch.arange(tiny_city().n_regions))
    owners = np.unique(encoder.observations())
    if present.nonzero().flatten().tolist() != owners.tolist() or vectors[~present].any():
        yield "regions without an observation are not masked; leave them out of observations() instead of using zeros"


def augments(candidate: Candidate) -> Iterator[str]:
    """`augment` keeps the shape of a batch, and its result depends only on the generator."""
    encoder = _encoder(candidate)
    batch = encoder.load(np.arange(len(encoder.observations())))
    one, two = (_tensors(encoder.augment(batch, torch.Generator().manual_seed(7))) for _ in range(2))
    if [tensor.shape for tensor in one] != [tensor.shape for tensor in _tensors(batch)]:
        yield "augment() changes the shape of a batch; return tensors of the same shape as those of load()"
    elif not all(same(a, b, exact=True) for a, b in zip(one, two, strict=True)):
        yield "augment() gives two results for one seed; draw random numbers only from its argument `generator`"


def learns(candidate: Candidate) -> Iterator[str]:
    """Gradients reach every trainable parameter, and `parts` names each once."""
    encoder = _encoder(candidate).train()
    rows = np.arange(len(encoder.observations()))
    yield from gradient_faults(encoder, [encoder.project(encoder(encoder.load(rows)))])
    named = [id(p) for part in encoder.parts().values() for p in part]
    trainable = {id(p) for p in encoder.parameters() if p.requires_grad}
    if set(encoder.parts()) != {"backbone", "projection"} or sorted(named) != sorted(trainable):
        yield "parts() must contain every trainable parameter once, in `backbone` or `projection`"


def freezes(candidate: Candidate) -> Iterator[str]:
    """The parameter `trainable` selects the trainable parts."""
    if "trainable" not in candidate.component.Params.model_fields:
        return
    for value, expected in (("projection", {"projection"}), ("none", set())):
        changed = Candidate(candidate.kind, candidate.name, {**candidate.params, "trainable": value}, candidate.options)
        left = {name for name, parameters in _encoder(changed).parts().items() if parameters}
        if left != expected:
            yield (
                f"`trainable: {value}` leaves {', '.join(sorted(left)) or 'nothing'} trainable; call "
                "self.connect(width) at the end of __init__, after creating all modules"
            )


def repeats(candidate: Candidate) -> Iterator[str]:
    """The same seed gives the same encoder."""
    yield from determinism_faults(lambda seed: _encoder(candidate, seed=seed), _pooled)
    one, two = (_encoder(candidate).fingerprint() for _ in range(2))
    if one != two:
        yield "fingerprint() differs between two encoders of one city; hash only the data that load() returns"


def restores(candidate: Candidate) -> Iterator[str]:
    """Saving and loading the state restores it."""
    yield from state_faults(lambda seed: _encoder(candidate, seed=seed), _pooled)


def follows_the_regions(candidate: Candidate) -> Iterator[str]:
    """Reordering the regions reorders the vectors in the same way."""
    city, order = shuffled_city()
    plain, moved = _encoder(candidate).eval(), _encoder(candidate, city).eval()
    # Both have the same state, because a vocabulary that is learned from a city may depend on the order of its regions.
    moved.load_state_dict(plain.state_dict())
    with torch.no_grad():
        if not same(_pooled(moved), _pooled(plain)[torch.from_numpy(order)]):
            yield (
                "the vectors change with the order of the regions; compute them from the data of the regions, not from "
                "their row numbers"
            )


def checks_the_city(candidate: Candidate) -> Iterator[str]:
    """`requires` returns None, or a message that names the missing data of a city."""
    modality, cls = _modality(candidate), candidate.component
    reason = cls.requires(candidate.validated, bare_city(), modality)
    if reason is not None and not isinstance(reason, str):
        yield f"requires() gives {reason!r}; expected None, or a message that names the missing data"
    elif reason is None:
        _encoder(candidate, bare_city())


def _encoder(candidate: Candidate, city: City | None = None, seed: int = 0) -> ModalityEncoder:
    return candidate.create((city or tiny_city()).unlabelled(), _modality(candidate), DIM, seed=seed)


def _modality(candidate: Candidate) -> str:
    """Return the requested modality, else the first that the encoder can read in the tiny city."""
    if (requested := candidate.options.get("modality")) is not None:
        return requested
    requires = candidate.component.requires
    return next((n for n in NAMES if requires(candidate.validated, tiny_city(), n) is None), candidate.name)


def _pooled(encoder: ModalityEncoder) -> Tensor:
    """Vectors [N, DIM] of all regions."""
    pooled, _ = RegionEncoder(encoder).encode(torch.arange(encoder.n_regions))
    return encoder.project(pooled)


def _tensors(batch: Batch) -> list[Tensor]:
    return list(batch.values()) if isinstance(batch, dict) else [batch]


CHECKS: tuple[Check, ...] = (
    observes,
    masks_absent_regions,
    augments,
    learns,
    freezes,
    repeats,
    restores,
    follows_the_regions,
    checks_the_city,
)
