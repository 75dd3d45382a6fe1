"""HREP: losses, equivariance, errors and a run."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest
import scipy.sparse
import torch
from torch import nn
from urbankit_baselines.hrep import HREP, RelationAttention, RelationNorm, relation_graph
from urbankit_baselines.hrep_prompt import HREPPrompt
from urbankit_baselines.triplets import Triplets

from urbankit.methods.base import MethodInputs
from urbankit.pipeline.run import run
from urbankit.recipe.recipe import Recipe
from urbankit.utils.errors import UserError
from urbankit.views.base import ViewGraph

N = 12
NAMES = ("outflow", "inflow", "poi", "neighbours", "flows", "poi_similarity")


def make_views(order: np.ndarray | None = None) -> dict[str, ViewGraph]:
    rng = np.random.default_rng(0)
    order = np.arange(N) if order is None else order
    views = {}
    for name in NAMES:
        weights = rng.uniform(0.1, 5, (N, N)) * (rng.uniform(size=(N, N)) < 0.4)
        if name != "flows":
            weights = np.minimum(np.maximum(weights, weights.T), 1)
            np.fill_diagonal(weights, 0)
        views[name] = ViewGraph(scipy.sparse.csr_array(weights[np.ix_(order, order)]), np.ones(N, dtype=bool))
    return views


def make(views: dict[str, ViewGraph] | None = None, **params) -> HREP:
    torch.manual_seed(0)
    city = SimpleNamespace(n_regions=N, path="city")
    return HREP(HREP.Params(**{"dim": 8, "heads": 2} | params), MethodInputs(city, {}, views or make_views(), "torch"))


@pytest.mark.parametrize("into", ["outflows", "inflows"])
def test_flow_and_poi_losses_match_the_formulas_of_the_paper(into):
    method = make(into_weights=into).eval()
    losses = method.loss(torch.arange(N))
    o, d, p, _ = method.by_relation().detach().double().numpy()
    views = make_views()
    m = views["flows"].adjacency.toarray().astype(float)
    m /= m.mean()
    s = views["poi_similarity"].adjacency.toarray() + np.eye(N)
    flow = poi = 0.0
    for i in range(N):
        for j in range(N):
            out = math.exp(o[i] @ d[j]) / sum(math.exp(o[i] @ d[k]) for k in range(N))
            back = math.exp(d[i] @ o[j]) / sum(math.exp(d[i] @ o[k]) for k in range(N))
            flow -= m[i, j] * math.log(out) + (m[i, j] if into == "outflows" else m[j, i]) * math.log(back)
            poi += (p[i] @ p[j] - s[i, j]) ** 2 / N**2
    assert float(losses["flow"].detach()) == pytest.approx(flow, rel=1e-5)
    assert float(losses["poi"].detach()) == pytest.approx(poi, rel=1e-5)
    assert float(losses["total"].detach()) == pytest.approx(
        sum(float(losses[k]) for k in ("flow", "poi", "neighbours"))
    )


def test_mean_loss_of_mini_batches_is_the_loss_of_all_regions():
    method = make().eval()
    full, halves = method.loss(torch.arange(N)), [method.loss(half) for half in torch.arange(N).split(N // 2)]
    for name in ("flow", "poi"):
        assert float(sum(half[name] for half in halves) / 2) == pytest.approx(float(full[name]), rel=1e-5)


def test_regions_without_points_of_interest_are_not_compared():
    views = make_views()
    weights = views["poi_similarity"].adjacency.toarray()
    weights[3], weights[:, 3] = 0, 0
    views["poi_similarity"] = ViewGraph(scipy.sparse.csr_array(weights), np.arange(N) != 3)
    method, z = make(views), torch.randn(N, 8)
    changed = z.clone()
    changed[3] += 10
    assert torch.equal(method.poi_loss(z, torch.arange(N)), method.poi_loss(changed, torch.arange(N)))


def test_permuting_the_regions_permutes_the_embeddings():
    order = np.random.default_rng(1).permutation(N)
    one, other = make().eval(), make(make_views(order)).eval()
    state = one.state_dict()
    of_regions = {name: state[name][torch.as_tensor(order)] for name in ("region", "gathered")}
    other.load_state_dict(state | of_regions)
    every = torch.arange(N)
    assert torch.allclose(one(every)[torch.as_tensor(order)], other(every), atol=1e-5)


def test_relation_graph_has_exactly_the_edges_of_every_relation():
    views = [make_views()[name].adjacency for name in HREP.relations]
    dense = relation_graph(views).dense().view(N, len(views), N, len(views))
    for r, view in enumerate(views):
        np.testing.assert_array_equal(dense[:, r, :, r], view.toarray() != 0)
        assert dense[:, r].sum() == view.count_nonzero()


def test_relation_norm_equals_one_batch_norm_applied_to_the_relations_in_order():
    torch.manual_seed(0)
    order, one, other = (2, 0, 1), RelationNorm(5, (2, 0, 1)), nn.BatchNorm1d(5)
    for _ in range(3):
        x = torch.randn(N, 3, 5) * 3 + 1
        expected = {r: other(x[:, r]) for r in order}
        assert torch.allclose(one(x), torch.stack([expected[r] for r in range(3)], dim=1), atol=1e-5)
    assert torch.allclose(one.running_mean, other.running_mean, atol=1e-6)
    assert torch.allclose(one.running_var, other.running_var, atol=1e-5)
    assert torch.allclose(one.eval()(x), other.eval()(x.flatten(0, 1)).view_as(x), atol=1e-5)


def test_relation_attention_equals_that_of_torch():
    torch.manual_seed(0)
    ours, theirs, x = RelationAttention(8, 2), nn.MultiheadAttention(8, 2), torch.randn(N, 4, 8)
    theirs.load_state_dict(
        {
            "in_proj_weight": ours.project.weight,
            "in_proj_bias": ours.project.bias,
            "out_proj.weight": ours.out.weight,
            "out_proj.bias": ours.out.bias,
        }
    )
    of_relations = x.transpose(0, 1)
    expected = theirs(of_relations, of_relations, of_relations, need_weights=False)[0].transpose(0, 1)
    assert torch.allclose(ours(x), expected, atol=1e-6)


@pytest.mark.parametrize("relation_vector", ["other", "own"])
def test_relation_vector_selects_the_vector_of_each_loss(relation_vector):
    method = make(relation_vector=relation_vector).eval()
    region, relation = method.encode()
    order = [2, 0, 3, 1] if relation_vector == "other" else [0, 1, 2, 3]
    assert torch.equal(method.by_relation(), torch.stack([region * relation[r] for r in order]))


def test_triplets_are_uniform_over_neighbours_and_negatives():
    near = np.zeros((6, 6))
    near[0, [1, 4]] = near[[1, 4], 0] = 1
    near[2, [0, 1, 3, 4, 5]] = near[[0, 1, 3, 4, 5], 2] = 1
    triplets = Triplets(scipy.sparse.csr_array(near))
    anchors, neighbour, negative = triplets.draw(torch.zeros(6000, dtype=torch.int64))
    assert len(anchors) == 6000
    assert {0: set(neighbour.tolist()), 1: set(negative.tolist())} == {0: {1, 2, 4}, 1: {3, 5}}
    assert (torch.bincount(negative)[[3, 5]] / 6000 - 0.5).abs().max() < 0.03
    assert 2 not in triplets.draw(torch.arange(6))[0]  # all others are its neighbours


def test_error_lists_all_missing_views_and_too_many_regions():
    views = {name: view for name, view in make_views().items() if name not in ("flows", "outflow")}
    with pytest.raises(UserError, match=r"outflow, flows.*\n.*12 regions.*more than 5"):
        make(views, dense_limit=5)


def test_recipe_without_a_view_is_refused():
    with pytest.raises(
        UserError, match=r"HREP needs the view 'neighbours'; give views.neighbours: \{name: neighbours\}"
    ):
        Recipe.load("baselines/hrep", ["views.neighbours=null"])


def test_dim_must_be_a_multiple_of_heads():
    with pytest.raises(UserError, match="dim = 144 must be a multiple of heads = 5"):
        Recipe.load("baselines/hrep", ["method.heads=5"])


def test_interrupted_training_resumes_exactly(assert_resume_is_exact):
    assert_resume_is_exact(make, N)


def test_prompt_predicts_each_row_independently():
    head = HREPPrompt(HREPPrompt.Params(width=8, heads=2), 5, 3).eval()
    z = torch.randn(4, 5)
    assert torch.allclose(head(z)[[2]], head(z[[2]]), atol=1e-6)
    head(z).sum().backward()
    assert head.prefix.grad.abs().sum() > 0


def test_recipe_runs(tiny_city, tmp_path):
    sets = ["pretrain.epochs=3", "evaluation.seeds=[0]", "evaluation.floors=[mean]", "report.figures=false"]
    sets += ["finetune.epochs=2", "tasks.co.head={name: hrep_prompt}", f"city={{prepared: {tiny_city.path}}}"]
    result = run(Recipe.load("baselines/hrep", sets), tmp_path / "run")
    assert result.manifest["status"] == "done"
    assert result.manifest["embedding_width"] == 144
