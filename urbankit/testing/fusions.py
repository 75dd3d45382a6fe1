"""The conformance checks of a fusion."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from urbankit.fusion.base import Fusion
from urbankit.testing.candidate import Candidate, Check
from urbankit.testing.modules import determinism_faults, gradient_faults, same, shape_fault, state_faults

ROWS, DIM = 5, 6
DIMS = (DIM, DIM, DIM)


def joins(candidate: Candidate) -> Iterator[str]:
    """It joins the vectors of every region into `out_dim` numbers, also for a region without vectors."""
    fusion = _fusion(candidate).eval()
    yield from shape_fault("forward()", fusion(_vectors(), _present()), ROWS, fusion.out_dim)
    yield from shape_fault("forward() of no region", fusion(*_selected(slice(0, 0))), 0, fusion.out_dim)
    blocks = fusion.blocks([[width] for width in DIMS])
    if sum(blocks) != fusion.out_dim:
        yield f"blocks() gives {blocks}, which sum to {sum(blocks)}; expected out_dim, {fusion.out_dim}"


def ignores_what_is_absent(candidate: Candidate) -> Iterator[str]:
    """The values of absent vectors have no influence."""
    fusion = _fusion(candidate).eval()
    spoilt = [v.masked_fill(~p.unsqueeze(1), torch.nan) for v, p in zip(_vectors(), _present(), strict=True)]
    if not same(fusion(spoilt, _present()), fusion(_vectors(), _present())):
        yield "the values of absent vectors change the result; start with masked_fill(~present.unsqueeze(1), 0)"


def learns(candidate: Candidate) -> Iterator[str]:
    """Gradients reach every trainable parameter and are finite, also for a region without vectors."""
    fusion, vectors = _fusion(candidate).train(), [v.requires_grad_() for v in _vectors()]
    out = fusion(vectors, _present())
    yield from gradient_faults(fusion, [out])
    gradients = torch.autograd.grad(fusion(vectors, _present()).sum(), vectors, allow_unused=True)
    if any(gradient is None or not gradient.isfinite().all() for gradient in gradients):
        yield "the gradient of a vector is missing or not finite; use every vector, and finite masks rather than -inf"


def repeats(candidate: Candidate) -> Iterator[str]:
    """The same seed gives the same fusion."""
    yield from determinism_faults(lambda seed: _fusion(candidate, seed), lambda f: f(_vectors(), _present()))


def restores(candidate: Candidate) -> Iterator[str]:
    """Saving and loading the state restores it."""
    yield from state_faults(lambda seed: _fusion(candidate, seed), lambda f: f(_vectors(), _present()))


def follows_the_regions(candidate: Candidate) -> Iterator[str]:
    """Reordering the regions reorders the results in the same way."""
    fusion, order = _fusion(candidate).eval(), torch.tensor([3, 0, 4, 1, 2])
    if not same(fusion(*_selected(order)), fusion(_vectors(), _present())[order]):
        yield "the results change with the order of the regions; join the vectors of each region independently"


def _fusion(candidate: Candidate, seed: int = 0) -> Fusion:
    return candidate.create(DIMS, DIM, seed=seed)


def _vectors() -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(ROWS, width, generator=generator) for width in DIMS]


def _present() -> list[Tensor]:
    """Return masks: the first region has all vectors, the second none, the others some."""
    rows = ([1, 0, 1, 0, 0], [1, 0, 1, 1, 0], [1, 0, 0, 1, 1])
    return [torch.tensor(row, dtype=torch.bool) for row in rows]


def _selected(rows: Tensor | slice) -> tuple[list[Tensor], list[Tensor]]:
    return [v[rows] for v in _vectors()], [p[rows] for p in _present()]


CHECKS: tuple[Check, ...] = (joins, ignores_what_is_absent, learns, repeats, restores, follows_the_regions)
