"""The subgraphs that a method draws around a few regions in each view, as a table for figures."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from urbankit.graph.subgraph import Subgraphs
from urbankit.methods.base import Method

COLUMNS = ("view", "root", "region_id", "target", "weight", "visits")
MOST_EDGES = 1000
"""Edges kept of one region's subgraphs in one view, the heaviest."""


def sample_walks(method: Method, roots: Sequence[int], region_ids: Sequence[str], seed: int) -> pd.DataFrame:
    """The subgraphs of the regions `roots` in each view, in rows of two kinds.

    A node: `view, root, region_id` and `visits`, how often the walk visited it. An edge: `view, root, region_id,
    target` and the (learned) `weight` from the one to the other. Draws come from `seed` and leave torch's generator as
    it was. No rows for a method without subgraphs, and none of views whose regions all share the whole graph.
    """
    ids = np.asarray(region_ids, dtype=object)
    tables = [pd.DataFrame(columns=list(COLUMNS))]
    if len(roots):
        device = next((p.device for p in method.parameters()), torch.device("cpu"))
        with torch.random.fork_rng(), torch.no_grad():
            torch.manual_seed(seed)
            by_view = method.sample_subgraphs(torch.as_tensor(list(roots), device=device))
        for view, subgraphs in by_view.items():
            if not subgraphs.shared:
                tables += [_table(view, subgraphs, index, ids) for index in range(subgraphs.n)]
    table = pd.concat([one for one in tables if len(one)] or tables, ignore_index=True)
    return table.astype({"weight": "float64", "visits": "Int64"})


def _table(view: str, subgraphs: Subgraphs, index: int, ids: NDArray) -> pd.DataFrame:
    graph, width = subgraphs.graph, subgraphs.graph.width
    nodes = subgraphs.node[index * width : (index + 1) * width].cpu().numpy()
    used = subgraphs.used[index * width : (index + 1) * width].cpu().numpy()
    root = ids[int(subgraphs.node[subgraphs.root[index]])]
    # A node that is not used stands for a further visit of a region that is.
    regions, visits = np.unique(nodes[used | np.isin(nodes, nodes[used])], return_counts=True)
    edge_rows = ((graph.src >= index * width) & (graph.src < (index + 1) * width)).nonzero().squeeze(1)
    edge_rows = edge_rows[graph.weight[edge_rows].argsort(descending=True)[:MOST_EDGES]]
    source, target = (subgraphs.node[end[edge_rows]].cpu().numpy() for end in (graph.src, graph.dst))
    edges = {"region_id": ids[source], "target": ids[target], "weight": graph.weight[edge_rows].cpu().numpy()}
    rows = [pd.DataFrame({"region_id": ids[regions], "visits": visits}), pd.DataFrame(edges)]
    return pd.concat(rows, ignore_index=True).assign(view=view, root=root).reindex(columns=list(COLUMNS))
