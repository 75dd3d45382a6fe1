"""MVURE: graph attention and sharing written out as loops, and a run."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse
import torch
from torch.nn import functional as F
from urbankit_baselines.mvure import CrossViewSharing, GraphAttention
from urbankit_baselines.region_graphs import side_by_side

from urbankit.errors import UserError
from urbankit.pipeline import run
from urbankit.recipe.schema import Recipe

N = 7


def test_graph_attention_is_the_softmax_over_neighbours_and_oneself():
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    near = [rng.uniform(size=(N, N)) < 0.4 for _ in range(2)]
    for a in near:
        np.fill_diagonal(a, False)
    layer, x = GraphAttention(2, 5, 3, 4, 0.2).eval(), torch.randn(N, 5)
    found = layer(side_by_side([scipy.sparse.csr_array(a.astype(np.float32)) for a in near]), x)
    for view in range(2):
        for head in range(3):
            h = x @ layer.weight[view, head]
            for i in range(N):
                heard = [j for j in range(N) if near[view][i, j] or j == i]
                asks, tells = h[i] @ layer.asks[view, head], (h[heard] @ layer.tells[view, head]).squeeze(1)
                weights = F.leaky_relu(asks + tells, 0.2).softmax(0)
                expected = F.relu(weights @ h[heard])
                assert torch.allclose(found[view, i, 4 * head : 4 * head + 4], expected, atol=1e-5)


def test_views_of_one_region_share_with_each_other_alone():
    torch.manual_seed(0)
    sharing, views = CrossViewSharing(6, 2, 4), torch.randn(3, N, 6)
    query, key = (part(views).unflatten(-1, (2, 4)) for part in (sharing.query, sharing.key))
    for n in range(N):
        heads = [(query[:, n, h] @ key[:, n, h].T / 2).softmax(dim=1) @ views[:, n] for h in range(2)]
        assert torch.allclose(sharing(views)[:, n], sum(heads) / 2, atol=1e-5)


def test_a_recipe_without_flows_is_refused():
    with pytest.raises(UserError, match="MVURE needs the view 'flows'"):
        Recipe.load("baselines/mvure", ["views.flows=null"])


def test_the_recipe_runs(tiny_city, tmp_path):
    sets = ["pretrain.epochs=3", "evaluation.seeds=[0]", "evaluation.floors=[mean]", "report.figures=false"]
    result = run(Recipe.load("baselines/mvure", [*sets, f"city={{prepared: {tiny_city.path}}}"]), tmp_path / "run")
    assert result.manifest["status"] == "done"
