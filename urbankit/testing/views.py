"""The conformance checks of a view."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from urbankit.city.city import City
from urbankit.testing.candidate import Candidate, Check
from urbankit.testing.city import bare_city, grid_city, shuffled_city, shuffled_grid_city, tiny_city
from urbankit.views.base import ViewGraph


def served(candidate: Candidate) -> Iterator[str]:
    """`requires` returns None, or a message that names the missing data of a city; otherwise the view can be built."""
    for city in (tiny_city(), bare_city()):
        reason = candidate.create().requires(city)
        if reason is not None and not isinstance(reason, str):
            yield f"requires() gives {reason!r}; expected None, or a message that names the missing data"
        elif reason is not None and city is tiny_city():
            yield f"requires() rejects the tiny city, which has every kind of source: {reason}"
        elif reason is None:
            yield from _graph_faults(_built(candidate, city), city)


def builds_the_same_again(candidate: Candidate) -> Iterator[str]:
    """The same city gives the same view."""
    one, two = (_built(candidate, tiny_city()) for _ in range(2))
    if (one.adjacency != two.adjacency).nnz or (one.present != two.present).any():
        yield "two builds differ; draw random numbers from a generator with a fixed seed, such as a parameter"


def follows_the_regions(candidate: Candidate) -> Iterator[str]:
    """Reordering the regions reorders the view in the same way."""
    if differing := _differing(candidate, tiny_city(), *shuffled_city()):
        yield (
            f"{differing} weights change with the order of the regions; compute them from the data of the regions, not "
            "from their row numbers, and break ties by value"
        )


def breaks_ties_by_location(candidate: Candidate) -> Iterator[str]:
    """On a grid, where many regions are equally near or similar, the order of the regions does not break ties."""
    city = grid_city()
    if candidate.create().requires(city) is None and (differing := _differing(candidate, city, *shuffled_grid_city())):
        yield (
            f"on a grid, {differing} weights change with the order of the regions, which breaks ties between regions "
            "that are equally near or similar; break ties by location, with urbankit.views.base.location_order(city)"
        )


def _differing(candidate: Candidate, city: City, moved: City, order: np.ndarray) -> int:
    """Return how many weights and masks differ in `moved`, whose region i is region `order[i]` of `city`."""
    plain, other = _built(candidate, city), _built(candidate, moved)
    expected = plain.adjacency.toarray()[order][:, order]
    apart = np.abs(other.adjacency.toarray() - expected) > 1e-5 * np.maximum(1, np.abs(expected))
    return int(apart.sum() + (other.present != plain.present[order]).sum())


def _built(candidate: Candidate, city: City) -> ViewGraph:
    return candidate.create().build(city.unlabelled())


def _graph_faults(graph: object, city: City) -> Iterator[str]:
    if not isinstance(graph, ViewGraph):
        yield f"build() gives {type(graph).__name__}; expected urbankit.views.base.ViewGraph(adjacency, present)"
        return
    # ViewGraph refuses weights that are negative or not finite, and edges of absent regions.
    if len(graph.present) != city.n_regions:
        yield f"build() gives a view of {len(graph.present)} regions; expected the city's {city.n_regions}"


CHECKS: tuple[Check, ...] = (served, builds_the_same_again, follows_the_regions, breaks_ties_by_location)
