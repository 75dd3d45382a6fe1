"""Checks that a component fulfils the contract of its kind, for the tests of plugins.

>>> from urbankit import testing
>>> testing.check_view("distance", top_k=3)

One line checks shapes and types, masks of missing data, gradients, determinism under a seed, equivariance to the order
of the regions, saving and loading of the state, the imports of the registration, and the documentation of every
parameter. A failed check raises `ConformanceError`, an `AssertionError` that names the component and, for each fault,
the result, the expected result and what to change.

The checks run on the tiny city, `tiny_city()`: 20 regions with every kind of source, each missing in some regions. Only
`urbankit.testing.fixtures`, the same city as a fixture, imports pytest.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from urbankit.testing.candidate import Candidate, ConformanceError
from urbankit.testing.city import tiny_city
from urbankit.testing.examine import examine
from urbankit.testing.own_files import files_beside

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
    "files_beside",
    "tiny_city",
]


def check_component(kind: str, name: str, params: Mapping[str, Any] | None = None, **options: Any) -> None:
    """Check that a component fulfils the contract of its kind.

    Registration, imports and parameters are checked for every kind.

    Args:
        kind: The kind, such as `view`; `urbankit list-components` shows all kinds.
        name: The registered name of the component.
        params: The parameters of the component, as in a recipe.
        **options: Further arguments of the checks of the kind, such as `modality` of a modality encoder.

    Raises:
        ConformanceError: With every fault of the component.
    """
    __tracebackhide__ = True
    examine(Candidate(kind, name, dict(params or {}), options))


def check_modality(name: str, modality: str | None = None, **params: Any) -> None:
    """Check the modality encoder `name` on one modality of the tiny city.

    Args:
        name: The name of the encoder.
        modality: Its name in a recipe, which selects the data: `rsi` or `svi` (images), `text`, `location`, `census` (a
            table). Default: the first of these that the encoder can read in the tiny city.
        **params: The parameters of the encoder.

    Raises:
        ConformanceError: With every fault of the encoder.
    """
    __tracebackhide__ = True
    check_component("modality_encoder", name, params, modality=modality)


def check_view(name: str, **params: Any) -> None:
    """Check the view `name` with `params`; raises `ConformanceError` with every fault."""
    __tracebackhide__ = True
    check_component("view", name, params)


def check_graph_encoder(name: str, **params: Any) -> None:
    """Check the graph encoder `name`; raises `ConformanceError` with every fault."""
    __tracebackhide__ = True
    check_component("graph_encoder", name, params)


def check_subgraph(name: str, **params: Any) -> None:
    """Check the subgraph sampler `name`; raises `ConformanceError` with every fault."""
    __tracebackhide__ = True
    check_component("subgraph", name, params)


def check_fusion(name: str, **params: Any) -> None:
    """Check the fusion `name`; raises `ConformanceError` with every fault."""
    __tracebackhide__ = True
    check_component("fusion", name, params)


def check_pair_weight(name: str, **params: Any) -> None:
    """Check the pair weight `name`; raises `ConformanceError` with every fault."""
    __tracebackhide__ = True
    check_component("pair_weight", name, params)


def check_head(name: str, **params: Any) -> None:
    """Check the head `name`, trained or fitted; raises `ConformanceError` with every fault."""
    __tracebackhide__ = True
    check_component("head", name, params)


def check_captioner(name: str, **params: Any) -> None:
    """Check the captioner `name`, of images or regions; raises `ConformanceError` with every fault."""
    __tracebackhide__ = True
    check_component("captioner", name, params)


def check_method(
    name: str,
    modalities: Mapping[str, Mapping[str, Any]] | None = None,
    views: Mapping[str, Mapping[str, Any]] | None = None,
    **params: Any,
) -> None:
    """Check the pre-training method `name` on some modalities and views of the tiny city.

    Args:
        name: The name of the method.
        modalities: The modalities, as in a recipe; by default a small encoder of every source.
        views: The views, as in a recipe; by default one of every source.
        **params: The parameters of the method.

    Raises:
        ConformanceError: With every fault of the method.
    """
    __tracebackhide__ = True
    check_component("method", name, params, modalities=modalities, views=views)
