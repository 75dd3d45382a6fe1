"""The conformance checks of a pair weight."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from urbankit.methods.pair_weights import PairWeight
from urbankit.testing.candidate import Candidate, Check
from urbankit.testing.modules import determinism_faults, same, shape_fault, state_faults

PAIRS, WIDTH = 12, 6


def weighs(candidate: Candidate) -> Iterator[str]:
    """It returns None, or a weight of at least 0 for every pair, 1 on average and without gradient."""
    a, b = (side.requires_grad_() for side in _pairs())
    weight = _trained(candidate)(a, b)
    if weight is None:
        return
    yield from shape_fault("forward()", weight, PAIRS)
    if weight.requires_grad:
        yield "the weights have a gradient, so that training could lower the loss by the weights; use torch.no_grad()"
    mean, least = float(weight.detach().mean()), float(weight.detach().min())
    if least < 0 or abs(mean - 1) > 1e-4:
        yield f"the weights are {mean:.4g} on average, {least:.4g} at least; expected 1 on average, none negative"


def weighs_few(candidate: Candidate) -> Iterator[str]:
    """It accepts batches of no pair and of one pair."""
    for number in (0, 1):
        weight = _trained(candidate)(*(side[:number] for side in _pairs()))
        if weight is not None:
            yield from shape_fault(f"forward() of {number} pairs", weight, number)


def repeats(candidate: Candidate) -> Iterator[str]:
    """The same seed gives the same weights."""
    yield from determinism_faults(lambda seed: candidate.create(seed=seed), _weights)


def restores(candidate: Candidate) -> Iterator[str]:
    """Saving and loading the state restores it in the middle of a training."""
    yield from state_faults(lambda seed: _trained(candidate, seed), _weights)


def follows_the_pairs(candidate: Candidate) -> Iterator[str]:
    """Reordering the pairs reorders the weights in the same way."""
    weigh, order = _trained(candidate).eval(), torch.randperm(PAIRS, generator=torch.Generator().manual_seed(1))
    a, b = _pairs()
    if not same(_weights(weigh, a[order], b[order]), _weights(weigh)[order]):
        yield "the weights change with the order of the pairs; compute them only from the vectors"


def _trained(candidate: Candidate, seed: int = 0) -> PairWeight:
    """Return a pair weight after a few batches of training."""
    weigh = candidate.create(seed=seed).train()
    for _ in range(3):
        weigh(*_pairs())
    return weigh


def _weights(weigh: torch.nn.Module, *pairs: Tensor) -> Tensor:
    weight = weigh(*(pairs or _pairs()))
    return torch.ones(PAIRS) if weight is None else weight


def _pairs() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    a = torch.randn(PAIRS, WIDTH, generator=generator)
    return a, a + 0.5 * torch.randn(PAIRS, WIDTH, generator=generator)


CHECKS: tuple[Check, ...] = (weighs, weighs_few, repeats, restores, follows_the_pairs)
