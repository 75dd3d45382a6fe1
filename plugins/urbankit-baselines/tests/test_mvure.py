"""MVURE: formulas, equivariance, errors and a run."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import scipy.sparse
import torch
import yaml
from torch.nn import functional as F
from urbankit_baselines.mvure import MVURE, GraphAttention, strongest
from urbankit_baselines.region_graphs import side_by_side

from urbankit import City
from urbankit.datasets.synthetic import write_demo
from urbankit.methods.base import MethodInputs
from urbankit.pipeline.run import run
from urbankit.recipe.recipe import Recipe
from urbankit.utils.errors import UserError
from urbankit.views.base import ViewGraph

N = 7


def make_views(order: np.ndarray | None = None) -> dict[str, ViewGraph]:
    rng = np.random.default_rng(0)
    order = np.arange(N) if order is None else order
    flows = rng.uniform(0.1, 5, (N, N)) * (rng.uniform(size=(N, N)) < 0.7)
    similarity = rng.uniform(0.1, 0.9, (N, N))
    similarity = (similarity + similarity.T) / 2 * (1 - np.eye(N))
    every = np.ones(N, dtype=bool)
    return {
        name: ViewGraph(scipy.sparse.csr_array(weights[np.ix_(order, order)]), every)
        for name, weights in {"flows": flows, "poi_similarity": similarity}.items()
    }


def make(views: dict[str, ViewGraph] | None = None) -> MVURE:
    torch.manual_seed(0)
    params = MVURE.Params(features=10, heads=3, head_width=4, sharing_width=5, flow_edges=3, poi_edges=4)
    city = SimpleNamespace(n_regions=N, path="city")
    return MVURE(params, MethodInputs(city, {}, views or make_views(), "torch"))


def test_graph_attention_is_the_softmax_over_neighbours_and_the_node():
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    masks = [rng.uniform(size=(N, N)) < 0.4 for _ in range(2)]
    for a in masks:
        np.fill_diagonal(a, False)
    layer, x = GraphAttention(2, 5, 3, 4, 0.2).eval(), torch.randn(N, 5)
    result = layer(side_by_side([scipy.sparse.csr_array(a.astype(np.float32)) for a in masks]), x)
    for view in range(2):
        for head in range(3):
            h = x @ layer.weight[view, head]
            for i in range(N):
                attended = [j for j in range(N) if masks[view][i, j] or j == i]
                asks, tells = h[i] @ layer.asks[view, head], (h[attended] @ layer.tells[view, head]).squeeze(1)
                weights = F.leaky_relu(asks + tells, 0.2).softmax(0)
                expected = F.relu(weights @ h[attended])
                assert torch.allclose(result[view, i, 4 * head : 4 * head + 4], expected, atol=1e-5)


def softmax(x: np.ndarray, axis: int) -> np.ndarray:
    exponentials = np.exp(x - x.max(axis=axis, keepdims=True))
    return exponentials / exponentials.sum(axis=axis, keepdims=True)


def test_strongest_edges_are_strongest_for_both_regions():
    weights = torch.tensor([[9.0, 5, 1, 0], [4, 0, 2, 0], [8, 0, 0, 3], [7, 6, 0, 0]])
    rows, columns = strongest(weights, 2).nonzero()
    # Largest values by column: 9 and 8; 6 and 5; 2 and 1; 3.
    assert set(zip(rows.tolist(), columns.tolist(), strict=True)) == {(0, 1), (1, 2), (2, 0), (2, 3), (3, 1)}


def test_embeddings_and_losses_match_the_formulas():
    """A second implementation in numpy with dense matrices."""
    method, views = make().eval(), make_views()
    p = method.params
    weights = {name: value.detach().double().numpy() for name, value in method.named_parameters()}
    flows = views["flows"].adjacency.toarray().astype(float)
    similarity = views["poi_similarity"].adjacency.toarray().astype(float) + np.eye(N)
    masks = []
    for matrix, k in ((flows, p.flow_edges), (flows, p.flow_edges), (similarity, p.poi_edges)):
        row, column = (np.sort(matrix, axis=axis).take([-k], axis=axis) for axis in (1, 0))
        masks.append((matrix >= row) & (matrix >= column) & (matrix > 0) | np.eye(N, dtype=bool))
    x, encoded = method.features.double().numpy(), []
    for view in range(3):
        heads = []
        for head in range(p.heads):
            h = x @ weights["attention.weight"][view, head]
            logits = h @ weights["attention.asks"][view, head] + (h @ weights["attention.tells"][view, head]).T
            logits = np.where(logits > 0, logits, 0.2 * logits) + np.where(masks[view], 0, -1e9)
            heads.append(softmax(logits, 1) @ h)
        attended = np.maximum(np.concatenate(heads, axis=1) + weights["attention.bias"][view], 0)
        shared = np.zeros_like(attended)
        for head in range(p.sharing_heads):
            columns = slice(head * p.sharing_width, (head + 1) * p.sharing_width)
            query, key = (
                attended @ weights[f"sharing.{name}.weight"][columns].T + weights[f"sharing.{name}.bias"][columns]
                for name in ("query", "key")
            )
            shared += softmax(query @ key.T / np.sqrt(p.sharing_width), 1) @ attended / p.sharing_heads
        encoded.append(0.8 * shared + 0.2 * attended)
    gates = [1 / (1 + np.exp(-(e @ weights["fusion.gate.weight"].T + weights["fusion.gate.bias"]))) for e in encoded]
    fused = sum(gate * e for gate, e in zip(gates, encoded, strict=True))
    assert np.allclose(method.embed().detach().numpy(), fused, atol=1e-5)

    o, d, poi = (0.5 * e + 0.5 * fused for e in encoded)
    m = flows / flows.mean()
    flow = -(m * np.log(softmax(o @ d.T, 1))).sum() - (m.T * np.log(softmax(d @ o.T, 1))).sum()
    losses = method.loss(torch.arange(N))
    assert float(losses["flow"].detach()) == pytest.approx(flow, rel=1e-5)
    assert float(losses["poi"].detach()) == pytest.approx(((poi @ poi.T - similarity) ** 2).mean(), rel=1e-5)


def test_permuting_the_regions_permutes_the_embeddings():
    order = torch.as_tensor(np.random.default_rng(1).permutation(N))
    one, other = make().eval(), make(make_views(order.numpy())).eval()
    state = one.state_dict()
    other.load_state_dict(state | {"features": state["features"][order]})
    every = torch.arange(N)
    assert torch.allclose(one(every)[order], other(every), atol=1e-5)


def test_interrupted_training_resumes_exactly(assert_resume_is_exact):
    assert_resume_is_exact(make, N)


@pytest.mark.parametrize("recipe", ["baselines/mvure", "baselines/hrep"])
def test_city_without_flows_or_points_of_interest_is_refused(recipe, tmp_path):
    spec_path = write_demo(tmp_path / "city", regions=25, seed=1)
    spec = yaml.safe_load(spec_path.read_text())
    for name in ("flows", "poi"):
        spec.pop(name)
    spec_path.write_text(yaml.safe_dump(spec))
    city = City.prepare(spec_path, out=tmp_path / "prepared")
    with pytest.raises(UserError, match=r"needs .*flows, poi_similarity, for which the city lacks the data"):
        run(Recipe.load(recipe, [f"city={{prepared: {city.path}}}", "tasks.land_use=null"]), tmp_path / "run")


def test_recipe_without_flows_is_refused():
    with pytest.raises(UserError, match="MVURE needs the view 'flows'"):
        Recipe.load("baselines/mvure", ["views.flows=null"])


def test_recipe_runs(tiny_city, tmp_path):
    sets = ["pretrain.epochs=3", "evaluation.seeds=[0]", "evaluation.floors=[mean]", "report.figures=false"]
    result = run(Recipe.load("baselines/mvure", [*sets, f"city={{prepared: {tiny_city.path}}}"]), tmp_path / "run")
    assert result.manifest["status"] == "done"
