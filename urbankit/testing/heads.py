"""What a head promises."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from urbankit.heads.base import FittedHead, Head
from urbankit.testing.candidate import Candidate, Check
from urbankit.testing.modules import determinism_faults, gradient_faults, same, shape_fault, state_faults

ROWS, BLOCKS = 40, (4, 2)
WIDTH = sum(BLOCKS)


def predicts(subject: Candidate) -> Iterator[str]:
    """It predicts one number of a region, or a logit a class."""
    for outputs in (1, 3):
        head = _head(subject, outputs)
        out = head(_embedding())
        if isinstance(head, FittedHead):
            yield from _fitted_faults(out, outputs)
        else:
            yield from shape_fault("forward()", out, ROWS, outputs)


def says_what_it_leans_on(subject: Candidate) -> Iterator[str]:
    """Its weights of the parts of the embedding are one a part, where it gives any."""
    weights = _head(subject, 1).block_weights()
    if weights is not None:
        yield from shape_fault("block_weights()", weights, len(BLOCKS))


def learns(subject: Candidate) -> Iterator[str]:
    """Gradients reach every trainable parameter."""
    if not issubclass(subject.component, FittedHead):
        head = _head(subject, 3).train()
        yield from gradient_faults(head, [head(_embedding())])


def repeats(subject: Candidate) -> Iterator[str]:
    """The same seed gives the same predictions."""
    yield from determinism_faults(lambda seed: _head(subject, 3, seed), lambda head: head(_embedding()))


def restores(subject: Candidate) -> Iterator[str]:
    """The state of a head that is trained by gradient steps is enough to have it again."""
    if not issubclass(subject.component, FittedHead):
        yield from state_faults(lambda seed: _head(subject, 3, seed), lambda head: head(_embedding()))


def follows_the_regions(subject: Candidate) -> Iterator[str]:
    """Regions in another order, or fewer of them, have the same predictions."""
    head = _head(subject, 3)
    order = torch.randperm(ROWS, generator=torch.Generator().manual_seed(1))[:7]
    with torch.no_grad():
        if not same(head(_embedding()[order]), head(_embedding())[order]):
            yield "a region's prediction depends on the others of its batch; no statistics of the batch in evaluation"


def _head(subject: Candidate, outputs: int, seed: int = 0) -> Head:
    """A head as an evaluation has it: told of its blocks, and fitted where it is one of those."""
    head = subject.create(WIDTH, outputs, seed=seed)
    if isinstance(head, FittedHead):
        # The last class has no member, as in a split where it is rare.
        labels = torch.arange(ROWS) % 2 if outputs > 1 else _embedding()[:, 0] + 1
        head.fit(_embedding(), labels, BLOCKS)
    else:
        head.divide(BLOCKS)
    return head.eval()


def _fitted_faults(out: Tensor, outputs: int) -> Iterator[str]:
    if list(out.shape) != [ROWS, outputs]:
        yield f"forward() gives a Tensor {list(out.shape)}; expected [{ROWS}, {outputs}]"
    elif out.isnan().any():
        yield "forward() gives NaN; of a class without members the logit is low, or -inf"


def _embedding() -> Tensor:
    return torch.randn(ROWS, WIDTH, generator=torch.Generator().manual_seed(0))


CHECKS: tuple[Check, ...] = (predicts, says_what_it_leans_on, learns, repeats, restores, follows_the_regions)
