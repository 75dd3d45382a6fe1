"""Checks of what components return, where a run calls them: the error names the component and what is wrong."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from urbankit.registry.failure import ComponentError
from urbankit.registry.registry import entry_of


def wrong_return(component: object, problem: str) -> ComponentError:
    """Return an error for a component, or its class, that returned something else than its base class says."""
    cls = component if isinstance(component, type) else type(component)
    return ComponentError(f"{entry_of(cls) or f'{cls.__module__}.{cls.__qualname__}'}: {problem}")


def check_tensor(component: object, method: str, value: Any, *shape: int | None, batched: bool = False) -> None:
    """Raise `ComponentError` if `value` is not a Tensor of this shape.

    None stands for any number. A `batched` value may have any dimensions in front.
    """
    expected = f"a Tensor [{', '.join('n' if size is None else str(size) for size in shape)}]"
    if not isinstance(value, Tensor):
        raise wrong_return(component, f"{method} returned {_article(type(value).__name__)}; expected {expected}")
    sizes = list(value.shape)
    compared = sizes[-len(shape) :] if batched else sizes
    matches = len(compared) == len(shape) and all(b in (None, a) for a, b in zip(compared, shape, strict=True))
    if not matches:
        raise wrong_return(component, f"{method} returned a Tensor {sizes}; expected {expected}")


def check_predictions(head: object, outputs: Tensor) -> None:
    """Raise `ComponentError` if a head predicts NaN for a region; `outputs` are [..., N, outputs]."""
    missing = outputs.isnan().any(dim=-1)
    if count := int(missing.sum()):
        raise wrong_return(head, f"it predicts NaN for {count:,} of {missing.numel():,} regions")


def check_type(component: object, method: str, value: object, expected: type) -> None:
    """Raise `ComponentError` if `value` is not an instance of the class `expected`."""
    if not isinstance(value, expected):
        what = f"{expected.__module__}.{expected.__qualname__}"
        raise wrong_return(component, f"{method} returned {_article(type(value).__name__)}; expected {what}")


def _article(name: str) -> str:
    return f"{'an' if name[0].lower() in 'aeiou' else 'a'} {name}"
