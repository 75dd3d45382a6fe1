"""Checks of components that are torch modules: gradients, determinism, saving and loading of the state."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import torch
from safetensors.torch import load, save
from torch import Tensor, nn

M = TypeVar("M", bound=nn.Module)


def gradient_faults(module: nn.Module, outputs: Sequence[Tensor]) -> Iterator[str]:
    """Every trainable parameter gets a finite gradient from `outputs`."""
    trainable = {name: p for name, p in module.named_parameters() if p.requires_grad}
    if not trainable:
        return
    loss = torch.stack([_mixed(output) for output in outputs]).sum()
    if not loss.requires_grad:
        yield "no gradient reaches its parameters; compute in torch, without detach(), numpy or torch.no_grad()"
        return
    gradients = torch.autograd.grad(loss, list(trainable.values()), allow_unused=True)
    by_name = dict(zip(trainable, gradients, strict=True))
    if unused := [name for name, gradient in by_name.items() if gradient is None]:
        yield f"no gradient reaches {_shortened(unused)}; use it in the output, freeze it, or make it a buffer"
    if wrong := [name for name, gradient in by_name.items() if gradient is not None and not gradient.isfinite().all()]:
        yield f"the gradient of {_shortened(wrong)} is not finite; look for a division, root or logarithm of 0"
    if all(gradient is None or not gradient.any() for gradient in by_name.values()):
        yield "the gradient of every parameter is 0, so that nothing is learned; look for a constant output"


def determinism_faults(make: Callable[[int], M], run: Callable[[M], Tensor]) -> Iterator[str]:
    """The same seed gives the same weights and the same outputs.

    `make` returns a new module with random weights of a seed, `run` the output of a module for fixed inputs.
    """
    one, two = make(0), make(0)
    differing = [name for name, tensor in one.state_dict().items() if not torch.equal(tensor, two.state_dict()[name])]
    if differing:
        yield (
            f"{_shortened(differing)} of two new components with one seed differ; draw weights from torch's global "
            "generator, and random numbers of numpy from a Generator with a fixed seed"
        )
    elif not same(_seeded(run, one.eval()), _seeded(run, two.eval()), exact=True):
        yield "two new components with one seed give different outputs; draw only from torch's global generator"


def state_faults(make: Callable[[int], M], run: Callable[[M], Tensor]) -> Iterator[str]:
    """The state saved as safetensors and loaded into a new component gives the same outputs.

    `make` and `run` are those of `determinism_faults`.
    """
    one, two = make(0), make(1)
    two.load_state_dict(load(save({name: t.detach().clone() for name, t in one.state_dict().items()})))
    if not same(_seeded(run, one.eval()), _seeded(run, two.eval())):
        yield (
            "loading the state_dict into a new component changes the outputs; register all tensors that they depend on "
            "as parameters or buffers"
        )


def same(a: Tensor, b: Tensor, *, exact: bool = False) -> bool:
    """Return whether two outputs are equal, exactly or up to rounding errors."""
    if a.shape != b.shape:
        return False
    return torch.equal(a, b) if exact else torch.allclose(a, b, atol=1e-4, rtol=1e-3)


def shape_fault(what: str, value: object, *expected: int) -> Iterator[str]:
    """`value` is a finite float tensor of the shape `expected`."""
    shape = list(expected)
    if not isinstance(value, Tensor):
        yield f"{what} gives {type(value).__name__}; expected a Tensor {shape}"
    elif list(value.shape) != shape:
        yield f"{what} gives a Tensor {list(value.shape)}; expected {shape}"
    elif not value.is_floating_point():
        yield f"{what} gives {value.dtype}; expected a floating-point type"
    elif not value.isfinite().all():
        yield f"{what} gives numbers that are not finite; look for a division, root or logarithm of 0"


def _seeded(run: Callable[[M], Tensor], module: M) -> Tensor:
    torch.manual_seed(3)
    with torch.no_grad():
        return run(module)


def _mixed(output: Tensor) -> Tensor:
    """Return a weighted sum; a plain sum could be constant, as for a softmax."""
    weights = torch.linspace(0.5, 1.5, max(output.numel(), 1)).view(output.shape if output.numel() else -1)
    return (output * weights.to(output)).sum() if output.numel() else output.sum()


def _shortened(names: Sequence[str]) -> str:
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
