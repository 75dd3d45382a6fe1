"""The base of views, weighted graphs over the regions of a city."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import scipy.sparse
from pydantic import Field, model_validator

from urbankit.city.city import City
from urbankit.city.raw_features import RawSource
from urbankit.registry import component
from urbankit.registry.component import Component, P
from urbankit.registry.contract import check_type, wrong_return
from urbankit.utils.errors import UserError

# Neighbours a region keeps where the sparse form is chosen by the number of regions alone.
DEFAULT_TOP_K = 25


@dataclass(frozen=True)
class ViewGraph:
    """A view of a city.

    Attributes:
        adjacency: the weights A_ij between regions, float32 CSR [N, N], finite and not negative.
        present: which regions have the data of the view, bool [N]; the others have no edges.

    Raises:
        ValueError: the arrays are not as described.
    """

    adjacency: scipy.sparse.csr_array
    present: np.ndarray

    def __post_init__(self) -> None:
        adjacency = scipy.sparse.csr_array(self.adjacency, dtype=np.float32)
        adjacency.sum_duplicates()
        adjacency.eliminate_zeros()
        present = np.asarray(self.present, dtype=bool)
        if adjacency.shape != (len(present), len(present)):
            raise ValueError(f"a view of {len(present)} regions has an adjacency of shape {adjacency.shape}")
        if not np.isfinite(adjacency.data).all() or (adjacency.data < 0).any():
            raise ValueError("the weights of a view are finite and not negative")
        if (np.diff(adjacency.indptr)[~present] > 0).any() or not present[adjacency.indices].all():
            raise ValueError("a region that is not present in a view has no edges")
        object.__setattr__(self, "adjacency", adjacency)
        object.__setattr__(self, "present", present)

    @classmethod
    def empty(cls, n: int) -> ViewGraph:
        """Return the view of n regions that all lack its data."""
        return cls(scipy.sparse.csr_array((n, n)), np.zeros(n, bool))

    def reordered(self, order: np.ndarray) -> ViewGraph:
        """Return the view in another order of regions: its region `order[i]` is region i of this one (int64 [N])."""
        back = np.argsort(order)
        return ViewGraph(self.adjacency[back][:, back], self.present[back])

    def __repr__(self) -> str:
        return f"ViewGraph({len(self.present)} regions, {self.present.sum()} present, {self.adjacency.nnz} edges)"


class View(Component[P], ABC):
    """Builds a view of a city: a weighted graph over its regions.

    Args:
        params: the component's validated `Params`.
    """

    def __init__(self, params: P) -> None:
        self.params = params

    @abstractmethod
    def build(self, city: City) -> ViewGraph:
        """Build the view.

        Args:
            city: the prepared city, for which `requires` returned None.

        Returns:
            The view over its N regions, in the order of the city's table of regions.
        """

    def raw_features(self, city: City, name: str) -> list[RawSource] | None:
        """Return the data of this view for the floors: numbers of each region without any learning.

        `urbankit.city.raw_features` has the sources of a city (`flows`, `points_of_interest` and so on), and a
        custom `RawSource` computes other numbers.

        Args:
            city: a city for which `requires` returned None.
            name: the view's name in the recipe.

        Returns:
            The sources; an empty list if the view reads only locations and areas, which the floors always have.
            None if they are not declared: then the run notes that its floors lack the data of the view.
        """
        return None

    def requires(self, city: City) -> str | None:
        """Return why the view cannot be built from `city`, or None if it can."""
        return None


def build_view(view: View[Any], city: City) -> ViewGraph:
    """Build a view of a city, or of each city that `city` joins: no edge leads from one city to another.

    Regions of a city that lacks the data of the view are not present.
    """
    members = list(city.members.values())
    if len(members) == 1:
        return _built(view, members[0])
    graphs = [
        _built(view, member) if view.requires(member) is None else ViewGraph.empty(member.n_regions)
        for member in members
    ]
    adjacency = scipy.sparse.block_diag([graph.adjacency for graph in graphs], format="csr")
    return ViewGraph(scipy.sparse.csr_array(adjacency), np.concatenate([graph.present for graph in graphs]))


def _built(view: View[Any], city: City) -> ViewGraph:
    graph = view.build(city)
    check_type(view, "build()", graph, ViewGraph)
    if len(graph.present) != city.n_regions:
        raise wrong_return(
            view, f"build() returned a view of {len(graph.present)} regions; the city has {city.n_regions}"
        )
    return graph


class FlowView(View[P]):
    """Base of views that are built from flows: implement `of_flows`, which gets the regions in `location_order`."""

    def flows(self, city: City) -> scipy.sparse.csr_array | None:
        """Return the flows [N, N] that the view is built from, row = origin; None if there are none."""
        return city.flows()

    def requires(self, city: City) -> str | None:
        """Return why the city lacks the flows; None if it has them."""
        return None if self.flows(city) is not None else "the city has no flows"

    def build(self, city: City) -> ViewGraph:
        """Build the view from the flows; see `View.build`."""
        flows = self.flows(city)
        if flows is None:
            raise ValueError(self.requires(city))
        order = location_order(city)
        return self.of_flows(flows[order][:, order]).reordered(order)

    @abstractmethod
    def of_flows(self, flows: scipy.sparse.csr_array) -> ViewGraph:
        """Return the view over the N regions of `flows` [N, N]."""


class PairParams(component.Params):
    """Parameters of a view with a weight for every pair of regions; they select the pairs that have an edge."""

    form: Literal["auto", "dense", "sparse"] = Field(
        "auto",
        description="`dense` keeps every pair; `sparse` the strongest of each region. `auto` is dense up to"
        " `dense_limit` regions unless a limit such as `top_k` is given, sparse otherwise.",
    )
    top_k: int | None = Field(
        None,
        ge=1,
        description=f"Sparse form: number of strongest pairs per region, of which the view is the union. Default"
        f" {DEFAULT_TOP_K} if nothing else limits the pairs.",
    )
    dense_limit: int = Field(
        2500, ge=1, description="Maximum number of regions of the dense form; its memory grows with their square."
    )

    @property
    def limits(self) -> tuple[str, ...]:
        """The parameters of the recipe that need the sparse form."""
        return ("top_k",) if self.top_k is not None else ()

    @model_validator(mode="after")
    def _one_form(self) -> PairParams:
        if self.form == "dense" and self.limits:
            raise ValueError(f"form 'dense' keeps every pair: leave out {' and '.join(self.limits)}")
        return self

    def keeps_every_pair(self, n: int) -> bool:
        """Return whether `n` regions get the dense form. Raises `UserError` for `dense` beyond `dense_limit`."""
        if self.form == "auto":
            return n <= self.dense_limit and not self.limits
        if self.form == "dense" and n > self.dense_limit:
            raise UserError(
                f"a dense view of {n} regions has {n * n:,} pairs, dense_limit is {self.dense_limit} regions;"
                " use form 'sparse' or raise dense_limit"
            )
        return self.form == "dense"

    def strongest_pairs(self, n: int) -> int | None:
        """Return the number of strongest pairs per region for `n` regions; None for all pairs.

        Raises `UserError` for `dense` with more than `dense_limit` regions.
        """
        return None if self.keeps_every_pair(n) else self.top_k or DEFAULT_TOP_K


def location_order(city: City) -> np.ndarray:
    """Return the regions by the northing, then the easting of their centroids, then their id; int64 [N].

    Regions without geometry are in the order of their ids.

    The order does not depend on the row numbers of the regions. Views use it to break ties, for example between equally
    near regions on a grid.
    """
    located = getattr(city, "has_geometry", True)  # stand-ins of cities in tests of plugins may lack it
    return np.lexsort((city.region_ids, *(city.xy.T if located else ())))


def symmetric_union(adjacency: scipy.sparse.csr_array) -> scipy.sparse.csr_array:
    """Return a symmetric matrix with every pair that is in a row of either region."""
    return adjacency.maximum(adjacency.T).tocsr()
