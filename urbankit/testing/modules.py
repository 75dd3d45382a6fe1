"""What every torch module among the components promises: gradients, determinism, a state that is enough."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from safetensors.torch import load, save
from torch import Tensor, nn

Make = Callable[[int], nn.Module]
"""A new module whose random weights are those of a seed."""

Run = Callable[[nn.Module], Tensor]
"""What a module computes of inputs that are always the same."""


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
    found = dict(zip(trainable, gradients, strict=True))
    if unused := [name for name, gradient in found.items() if gradient is None]:
        yield f"no gradient reaches {_some(unused)}; use it in the output, freeze it, or make it a buffer"
    if wrong := [name for name, gradient in found.items() if gradient is not None and not gradient.isfinite().all()]:
        yield f"the gradient of {_some(wrong)} is not finite; look for a division, root or logarithm of 0"
    if all(gradient is None or not gradient.any() for gradient in found.values()):
        yield "the gradient of every parameter is 0, so that nothing is learned; look for an output that is constant"


def determinism_faults(make: Make, run: Run) -> Iterator[str]:
    """The same seed gives the same weights and the same outputs."""
    one, two = make(0), make(0)
    unlike = [name for name, tensor in one.state_dict().items() if not torch.equal(tensor, two.state_dict()[name])]
    if unlike:
        yield (
            f"under one seed {_some(unlike)} of two new components differ; draw weights from torch's global generator, "
            "and numpy's from a Generator of a fixed seed"
        )
    elif not same(_seeded(run, one.eval()), _seeded(run, two.eval()), exact=True):
        yield "under one seed two new components give other outputs; draw from torch's global generator alone"


def state_faults(make: Make, run: Run) -> Iterator[str]:
    """The state saved as safetensors and loaded into a new component gives the same outputs."""
    one, two = make(0), make(1)
    two.load_state_dict(load(save({name: t.detach().clone() for name, t in one.state_dict().items()})))
    if not same(_seeded(run, one.eval()), _seeded(run, two.eval())):
        yield (
            "a component that takes over the state_dict of another gives other outputs; register what they depend on "
            "as parameters or buffers"
        )


def same(a: Tensor, b: Tensor, *, exact: bool = False) -> bool:
    """Whether two outputs agree, to the bit or to what rounding in another order changes."""
    if a.shape != b.shape:
        return False
    return torch.equal(a, b) if exact else torch.allclose(a, b, atol=1e-4, rtol=1e-3)


def shape_fault(what: str, found: object, *expected: int) -> Iterator[str]:
    """`found` is a finite float tensor of the shape `expected`."""
    shape = list(expected)
    if not isinstance(found, Tensor):
        yield f"{what} gives {type(found).__name__}; expected a Tensor {shape}"
    elif list(found.shape) != shape:
        yield f"{what} gives a Tensor {list(found.shape)}; expected {shape}"
    elif not found.is_floating_point():
        yield f"{what} gives {found.dtype}; expected a floating-point type"
    elif not found.isfinite().all():
        yield f"{what} gives numbers that are not finite; look for a division, root or logarithm of 0"


def _seeded(run: Run, module: nn.Module) -> Tensor:
    torch.manual_seed(3)
    with torch.no_grad():
        return run(module)


def _mixed(output: Tensor) -> Tensor:
    """A sum with weights that no symmetry cancels, such as that of a softmax."""
    weights = torch.linspace(0.5, 1.5, max(output.numel(), 1)).view(output.shape if output.numel() else -1)
    return (output * weights.to(output)).sum() if output.numel() else output.sum()


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
