import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from helpers.graphs import features, random_adjacency, random_graph

from urbankit.graph import engine, torch_engine
from urbankit.graph.gcn import GCN
from urbankit.graph.graph import Graph
from urbankit.graph.random_walk import RandomWalk
from urbankit.graph.vgae import VGAE
from urbankit.utils.errors import UserError

needs_dgl = pytest.mark.skipif(engine.why_not_dgl() is not None, reason=f"DGL: {engine.why_not_dgl()}")
ENGINES = ["torch", pytest.param("dgl", marks=needs_dgl), "auto"]
DENSITIES = [0.02, 0.6]  # a sparse and a dense product


@pytest.mark.parametrize("name", ENGINES)
@pytest.mark.parametrize("density", DENSITIES)
def test_messages_equal_the_product_with_the_matrix(name, density):
    adjacency = random_adjacency(60, density, isolated=3)
    graph, x, self_weight = Graph.from_scipy(adjacency), features(60, 7), torch.rand(60)
    assert torch_engine.nearly_dense(graph) == (density > 0.1)
    expected = adjacency.toarray() @ x.numpy() + self_weight.numpy()[:, None] * x.numpy()
    np.testing.assert_allclose(engine.propagate(graph, x, self_weight, name), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ENGINES)
@pytest.mark.parametrize("density", DENSITIES)
def test_edge_products_equal_those_of_the_end_nodes(name, density):
    graph, a, b = random_graph(60, density), features(60, 7, 1), features(60, 7, 2)
    expected = [float(a[i] @ b[j]) for i, j in zip(graph.src, graph.dst, strict=True)]
    np.testing.assert_allclose(engine.edge_dot(graph, a, b, name), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ENGINES)
@pytest.mark.parametrize("density", DENSITIES)
def test_gradients_equal_those_of_autograd(name, density):
    graph = random_graph(40, density)
    tensors = [graph.weight, features(40, 5), torch.rand(40)]
    mine = [t.clone().requires_grad_() for t in tensors]
    plain = [t.clone().requires_grad_() for t in tensors]
    engine.propagate(graph.with_weight(mine[0]), mine[1], mine[2], name).square().sum().backward()
    matrix = torch.zeros(40, 40).index_put((graph.src, graph.dst), plain[0])
    (matrix @ plain[1] + plain[2][:, None] * plain[1]).square().sum().backward()
    for ours, theirs in zip(mine, plain, strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-4, atol=1e-4)

    a, b = (features(40, 5, seed).requires_grad_() for seed in (1, 2))
    c, d = (features(40, 5, seed).requires_grad_() for seed in (1, 2))
    engine.edge_dot(graph, a, b, name).square().sum().backward()
    (c[graph.src] * d[graph.dst]).sum(1).square().sum().backward()
    torch.testing.assert_close(a.grad, c.grad, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(b.grad, d.grad, rtol=1e-4, atol=1e-4)


@needs_dgl
@pytest.mark.parametrize(("n", "density"), [(80, 0.02), (80, 0.6), (957, 0.02), (3000, 0.005)])
def test_engines_agree_to_one_part_in_100_000(n, density):
    """Outputs and gradients of VGAE, walk subgraphs and GCN together, also with respect to the edge weights."""
    graph, x = random_graph(n, density, isolated=2), features(n, 12)
    results = []
    for name in ("torch", "dgl"):
        torch.manual_seed(0)
        vgae, gcn = VGAE(VGAE.Params(latent=8), 12, name), GCN(GCN.Params(hidden=[16], out=8), 12, name)
        features_copy = x.clone().requires_grad_()
        encoded = vgae(graph, features_copy, generator=torch.Generator().manual_seed(1))
        weight = vgae.edge_weight(graph, encoded, graph.src, graph.dst)
        weight.retain_grad()
        # Walks on fixed weights: a rounding difference must not send a walker elsewhere.
        drawn = RandomWalk(RandomWalk.Params()).sample(
            graph.with_weight(graph.weight), graph.weight, torch.arange(n), torch.Generator().manual_seed(2)
        )
        ids = graph.edge_ids(drawn.node[drawn.graph.src], drawn.node[drawn.graph.dst]).long()
        local = drawn.graph.with_weight(weight[ids])
        h = gcn.forward_nodes(local, features_copy, drawn.node)
        loss = h.square().mean() + sum(vgae.losses(graph, encoded, torch.arange(n)).values()) / 100
        loss.backward()
        results.append(
            [
                loss,
                h,
                weight,
                features_copy.grad,
                weight.grad,
                *(p.grad for p in [*vgae.parameters(), *gcn.parameters()]),
            ]
        )
    for ours, theirs in zip(*results, strict=True):
        scale = ours.abs().max().clamp(min=1e-3)
        assert ((ours - theirs).abs().max() / scale) < 1e-5


@pytest.mark.parametrize("name", ENGINES)
def test_messages_stay_in_float32_under_autocast(name):
    graph, x = random_graph(50, 0.1), features(50, 8)
    expected = engine.propagate(graph, x, engine="torch")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = engine.propagate(graph, x, engine=name)
        encoded = VGAE(VGAE.Params(), 8, name)(graph, x)
    assert out.dtype == torch.float32 and encoded.mu.dtype == torch.float32
    torch.testing.assert_close(out, expected, rtol=1e-5, atol=1e-5)


def test_unknown_and_unusable_engines_are_refused_by_name(monkeypatch):
    with pytest.raises(UserError, match="unknown graph engine 'dgll'; choose one of auto, dgl, torch"):
        engine.select_engine("dgll")
    monkeypatch.setattr(engine, "why_not_dgl", lambda device: f"it has no kernels for {device}")
    with pytest.raises(UserError, match="'dgl' cannot be used: it has no kernels for cuda"):
        engine.select_engine("dgl", "cuda")
    assert engine.select_engine("auto", "cuda") == "torch"


def test_auto_is_torch_on_a_processor_and_dgl_on_other_devices_where_it_has_kernels(monkeypatch):
    monkeypatch.setattr(engine, "why_not_dgl", lambda device: None)
    assert engine.select_engine("auto", "cpu") == "torch"
    assert engine.select_engine("auto", "cuda") == "dgl"
    assert engine.select_engine("dgl", "cpu") == "dgl"


def test_torch_is_used_without_dgl(monkeypatch):
    def missing():
        raise ImportError("No module named 'dgl'")

    monkeypatch.setattr(engine, "_dgl", missing)
    engine.why_not_dgl.cache_clear()
    try:
        assert engine.select_engine("auto") == "torch"
        with pytest.raises(UserError, match=r"it does not import \(No module named 'dgl'\)"):
            engine.select_engine("dgl")
    finally:
        engine.why_not_dgl.cache_clear()


@needs_dgl
def test_importing_dgl_prints_and_writes_nothing(tmp_path):
    code = (
        "import sys, os\n"
        "from urbankit.graph.engine import select_engine\n"
        "assert 'dgl' not in sys.modules\n"
        "assert select_engine('dgl') == 'dgl' and 'dgl' in sys.modules and 'DGLBACKEND' not in os.environ\n"
    )
    home = {**os.environ, "HOME": str(tmp_path), "DGLDEFAULTDIR": str(tmp_path / "dgl")}
    home.pop("DGLBACKEND", None)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=home, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert not (tmp_path / "dgl").exists() and not (tmp_path / ".dgl").exists()
