"""The conformance checks of a head."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from urbankit.heads.base import FittedHead, Head
from urbankit.testing.candidate import Candidate, Check
from urbankit.testing.modules import determinism_faults, gradient_faults, same, shape_fault, state_faults

ROWS, BLOCKS = 40, (4, 2)
WIDTH = sum(BLOCKS)


def predicts(candidate: Candidate) -> Iterator[str]:
    """It predicts one number per region, or one logit per class."""
    for outputs in (1, 3):
        head = _head(candidate, outputs)
        out = head(_embedding())
        if isinstance(head, FittedHead):
            yield from _fitted_faults(out, outputs)
        else:
            yield from shape_fault("forward()", out, ROWS, outputs)


def has_block_weights(candidate: Candidate) -> Iterator[str]:
    """`block_weights` is None or has one weight for each block of the embedding."""
    weights = _head(candidate, 1).block_weights()
    if weights is not None:
        yield from shape_fault("block_weights()", weights, len(BLOCKS))


def learns(candidate: Candidate) -> Iterator[str]:
    """Gradients reach every trainable parameter."""
    if not issubclass(candidate.component, FittedHead):
        head = _head(candidate, 3).train()
        yield from gradient_faults(head, [head(_embedding())])


def repeats(candidate: Candidate) -> Iterator[str]:
    """The same seed gives the same predictions."""
    yield from determinism_faults(lambda seed: _head(candidate, 3, seed), lambda head: head(_embedding()))


def restores(candidate: Candidate) -> Iterator[str]:
    """Saving and loading the state restores a head that is trained by gradient descent."""
    if not issubclass(candidate.component, FittedHead):
        yield from state_faults(lambda seed: _head(candidate, 3, seed), lambda head: head(_embedding()))


def follows_the_regions(candidate: Candidate) -> Iterator[str]:
    """The prediction for a region does not depend on the other regions of the batch."""
    head = _head(candidate, 3)
    order = torch.randperm(ROWS, generator=torch.Generator().manual_seed(1))[:7]
    with torch.no_grad():
        if not same(head(_embedding()[order]), head(_embedding())[order]):
            yield "the prediction for a region depends on the rest of the batch; use no batch statistics in evaluation"


def _head(candidate: Candidate, outputs: int, seed: int = 0) -> Head:
    """Return a head as in an evaluation: with its blocks set, and fitted if it is a `FittedHead`."""
    head = candidate.create(WIDTH, outputs, seed=seed)
    if isinstance(head, FittedHead):
        # The last class has no member, as for a rare class of a split.
        labels = torch.arange(ROWS) % 2 if outputs > 1 else _embedding()[:, 0] + 1
        head.fit(_embedding(), labels, BLOCKS)
    else:
        head.divide(BLOCKS)
    return head.eval()


def _fitted_faults(out: Tensor, outputs: int) -> Iterator[str]:
    if list(out.shape) != [ROWS, outputs]:
        yield f"forward() gives a Tensor {list(out.shape)}; expected [{ROWS}, {outputs}]"
    elif out.isnan().any():
        yield "forward() gives NaN; the logit of a class without members must be low, or -inf"


def _embedding() -> Tensor:
    return torch.randn(ROWS, WIDTH, generator=torch.Generator().manual_seed(0))


CHECKS: tuple[Check, ...] = (predicts, has_block_weights, learns, repeats, restores, follows_the_regions)
