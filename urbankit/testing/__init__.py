"""Checks that a component keeps the contract of its kind, for the tests of those who write one.

>>> from urbankit import testing
>>> testing.check_view("distance", top_k=3)

One line checks what every recipe relies on: shapes and types, masks of what regions lack, gradients, determinism under
a seed, equivariance to the order of the regions, the round trip of the state, what the registration imports, and the
documentation of every parameter. What does not hold is a `ConformanceError`, an `AssertionError` that names the
component and, for each fault, what was found, what is expected and what to change.

The checks run on the tiny city, `tiny_city()`: 20 regions with every kind of source, some lacking each. Only
`urbankit.testing.fixtures`, the same city as a fixture, imports pytest.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from urbankit.testing.candidate import Candidate, ConformanceError
from urbankit.testing.city import tiny_city
from urbankit.testing.examine import examine

__all__ = [
    "ConformanceError",
    "check_captioner",
    "check_component",
    "check_fusion",
    "check_graph_encoder",
    "check_head",
    "check_method",
    "check_modality",
    "check_pair_weight",
    "check_subgraph",
    "check_view",
    "tiny_city",
]


def check_component(kind: str, name: str, params: Mapping[str, Any] | None = None, **given: Any) -> None:
    """Check the component `name` of `kind` with `params`; raises `ConformanceError` with every fault.

    `given` is what the checks of the kind take beside: see the functions below. A kind without checks of its own has
    those of every kind: registration, imports and parameters.
    """
    __tracebackhide__ = True
    examine(Candidate(kind, name, dict(params or {}), given))


def check_modality(name: str, modality: str | None = None, **params: Any) -> None:
    """Check a modality encoder.

    Args:
        name: The encoder's name.
        modality: The name that a recipe gives it, if that decides what it reads: `rsi` or `svi` (images), `text`,
            `location`, `census` (a table). Default: the first that the tiny city has.
        **params: Its parameters.
    """
    __tracebackhide__ = True
    check_component("modality_encoder", name, params, modality=modality)


def check_view(name: str, **params: Any) -> None:
    """Check a view."""
    __tracebackhide__ = True
    check_component("view", name, params)


def check_graph_encoder(name: str, **params: Any) -> None:
    """Check a graph encoder."""
    __tracebackhide__ = True
    check_component("graph_encoder", name, params)


def check_subgraph(name: str, **params: Any) -> None:
    """Check a way to take the graph around each region."""
    __tracebackhide__ = True
    check_component("subgraph", name, params)


def check_fusion(name: str, **params: Any) -> None:
    """Check a fusion."""
    __tracebackhide__ = True
    check_component("fusion", name, params)


def check_pair_weight(name: str, **params: Any) -> None:
    """Check a pair weight."""
    __tracebackhide__ = True
    check_component("pair_weight", name, params)


def check_head(name: str, **params: Any) -> None:
    """Check a head, one that is trained by gradient steps or one that is fitted."""
    __tracebackhide__ = True
    check_component("head", name, params)


def check_captioner(name: str, **params: Any) -> None:
    """Check a captioner, one of images or one of regions."""
    __tracebackhide__ = True
    check_component("captioner", name, params)


def check_method(
    name: str,
    modalities: Mapping[str, Mapping[str, Any]] | None = None,
    views: Mapping[str, Mapping[str, Any]] | None = None,
    **params: Any,
) -> None:
    """Check a method on `modalities` and `views` as a recipe names them, by default small ones of every source."""
    __tracebackhide__ = True
    check_component("method", name, params, modalities=modalities, views=views)
