"""Measures of an embedding without labels: whether its blocks reflect the views, and what pre-training learned."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from urbankit.analysis.view_order import view_order
from urbankit.pipeline.state import RunState
from urbankit.runs.folder import split_blocks
from urbankit.runs.view_measures import Loss, Order, Recall, learned_nothing, lines, rows


def measure_views(state: RunState, embeddings: NDArray[np.float32]) -> list[dict[str, Any]]:
    """Return the rows of `views.parquet` for embeddings [N, dim], and say what they mean.

    The notes of the manifest name each block that learned nothing.
    """
    method = state.method
    named = len(method.block_names) == len(method.blocks)
    blocks = split_blocks(embeddings, method.block_names, method.blocks) if named else {}
    orders = []
    for view, block in method.view_blocks().items():
        if block in blocks:
            order = view_order(blocks[block], state.inputs.views[view], state.recipe.seed)
            orders.append(Order(view, order.spearman, order.spearman_all, order.related))
    losses = [Loss(name, *values) for name, values in state.held_out.items()]
    recalls = [Recall.of(block, other, *values) for (block, other), values in state.retrieval.items()]
    for line in lines(orders, losses, recalls):
        state.progress.say(line)
    state.manifest.note(learned_nothing(recalls), state.progress)
    return rows([*orders, *losses, *recalls])
