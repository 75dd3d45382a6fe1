import math

import numpy as np
import pytest
import scipy.sparse
import torch
from helpers.graphs import features, random_adjacency, random_graph
from torch.nn import functional as F

from urbankit.graph import reconstruction
from urbankit.graph.base import Encoded
from urbankit.graph.graph import Graph
from urbankit.graph.random_walk import RandomWalk
from urbankit.graph.reconstruction import squared_error
from urbankit.graph.vgae import LOG_SIGMA, VGAE


def softplus(x: float) -> float:
    return math.log1p(math.exp(-abs(x))) + max(x, 0.0)


def literal_losses(adjacency: np.ndarray, z: np.ndarray, mu: np.ndarray, log_sigma: np.ndarray) -> tuple[float, float]:
    """Eq. 19 to 21 as loops, over all nodes."""
    n, d = z.shape
    reconstruction = 0.0
    for i in range(n):
        for j in range(n):
            reconstruction += (adjacency[i, j] - softplus(float(z[i] @ z[j]))) ** 2
    kl = 0.0
    for i in range(n):
        for j in range(d):
            variance = math.exp(log_sigma[i, j]) ** 2
            kl += 1 + math.log(variance) - mu[i, j] ** 2 - variance
    return reconstruction / n**2, -0.5 * kl


def encoded_example(n: int, d: int) -> Encoded:
    return Encoded(features(n, d, 1), features(n, d, 2), features(n, d, 3) / 2)


@pytest.mark.parametrize("density", [0.05, 0.7])
def test_losses_match_the_equations(density):
    adjacency, encoded = random_adjacency(23, density, isolated=2), encoded_example(23, 4)
    vgae = VGAE(VGAE.Params(latent=4, kl_weight="literal"), 3)
    losses = vgae.losses(Graph.from_scipy(adjacency), encoded, torch.arange(23))
    expected = literal_losses(
        adjacency.toarray(), *(t.double().numpy() for t in (encoded.z, encoded.mu, encoded.log_sigma))
    )
    assert losses["reconstruction"].item() == pytest.approx(expected[0], rel=1e-5)
    assert losses["kl"].item() == pytest.approx(expected[1], rel=1e-5)


def test_kl_weight_scales_the_divergence():
    graph, encoded, rows = random_graph(20, 0.2), encoded_example(20, 4), torch.arange(20)
    kl = {
        weight: VGAE(VGAE.Params(latent=4, kl_weight=weight), 3).losses(graph, encoded, rows)["kl"].item()
        for weight in ("literal", "balanced", 0.5)
    }
    assert kl["balanced"] == pytest.approx(kl["literal"] / 20**2)
    assert kl[0.5] == pytest.approx(kl["literal"] / 2)


@pytest.mark.parametrize("density", [0.05, 0.7])
def test_losses_of_mini_batches_average_to_the_full_loss(density):
    graph, encoded = random_graph(40, density), encoded_example(40, 4)
    vgae = VGAE(VGAE.Params(latent=4), 3)
    full = vgae.losses(graph, encoded, torch.arange(40))
    parts = [vgae.losses(graph, encoded, rows) for rows in torch.randperm(40).split(10)]
    for name, value in full.items():
        assert torch.stack([part[name] for part in parts]).mean().item() == pytest.approx(value.item(), rel=1e-5)


@pytest.mark.parametrize("density", [0.05, 0.7])
@pytest.mark.parametrize("block", [1, 70, 1 << 20])
def test_blockwise_gradient_equals_that_of_autograd(monkeypatch, density, block):
    monkeypatch.setattr(reconstruction, "BLOCK", block)
    graph, rows = random_graph(31, density), torch.tensor([4, 0, 30, 17, 5])
    mine, plain = features(31, 6).requires_grad_(), features(31, 6).requires_grad_()
    loss = squared_error(graph, mine, mine, rows)
    expected = (graph.dense()[rows] - F.softplus(plain[rows] @ plain.T)).square().mean()
    (3 * loss).backward()
    (3 * expected).backward()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    torch.testing.assert_close(mine.grad, plain.grad, rtol=1e-4, atol=1e-6)


def test_encoder_matches_equations_17_and_18():
    graph, x = random_graph(15, 0.3), features(15, 5)
    vgae = VGAE(VGAE.Params(latent=4), 5)
    with_self = graph.dense() + torch.eye(15)
    root = torch.diag(with_self.sum(1).rsqrt())
    both = root @ with_self @ root @ x @ vgae.convolution.linear.weight.T
    epsilon = torch.randn(15, 4, generator=torch.Generator().manual_seed(3))
    encoded = vgae(graph, x, generator=torch.Generator().manual_seed(3))
    torch.testing.assert_close(encoded.mu, F.leaky_relu(both[:, :4]), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(encoded.log_sigma, both[:, 4:], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(encoded.z, encoded.mu + encoded.log_sigma.exp() * epsilon)
    assert torch.equal(vgae.eval()(graph, x).z, vgae(graph, x).mu)


def test_log_deviations_are_bounded_for_extreme_features():
    graph = random_graph(15, 0.3)
    encoded = VGAE(VGAE.Params(latent=4), 5)(graph, 1e6 * features(15, 5))
    assert encoded.log_sigma.min() >= LOG_SIGMA[0] and encoded.log_sigma.max() <= LOG_SIGMA[1]


@pytest.mark.parametrize("density", [0.05, 0.7])
def test_edge_weights_match_equation_19_for_edges_and_other_pairs(density):
    graph, encoded = random_graph(25, density), encoded_example(25, 4)
    vgae = VGAE(VGAE.Params(latent=4), 3)
    expected = [softplus(float(encoded.z[i] @ encoded.z[j])) for i, j in zip(graph.src, graph.dst, strict=True)]
    on_view = vgae.edge_weight(graph, encoded, graph.src, graph.dst)
    np.testing.assert_allclose(on_view, expected, rtol=1e-5)
    torch.testing.assert_close(vgae.edge_weight(graph, encoded, graph.src.clone(), graph.dst), on_view)


@pytest.mark.parametrize("density", [0.05, 0.7])
def test_gradients_reach_the_vgae_through_subgraph_edges(density):
    graph, x = random_graph(30, density), features(30, 5)
    vgae = VGAE(VGAE.Params(latent=4), 5)
    weight = vgae.edge_weight(graph, vgae(graph, x), graph.src, graph.dst)
    weight.retain_grad()
    drawn = RandomWalk(RandomWalk.Params()).sample(graph, weight, torch.arange(5))
    drawn.graph.weight.sum().backward()
    assert vgae.convolution.linear.weight.grad.abs().sum() > 0
    pairs = set(zip(drawn.node[drawn.graph.src].tolist(), drawn.node[drawn.graph.dst].tolist(), strict=True))
    reached = {(int(graph.src[e]), int(graph.dst[e])) for e in weight.grad.nonzero().squeeze(1)}
    assert reached == pairs


def test_vgae_learns_the_weights_of_a_view():
    torch.manual_seed(0)
    blocks = np.kron(np.eye(3), np.ones((8, 8))) * 4
    graph = Graph.from_scipy(scipy.sparse.csr_array(blocks))
    vgae, x, rows = VGAE(VGAE.Params(latent=8, activation="none"), 24), torch.eye(24), torch.arange(24)
    adam = torch.optim.Adam(vgae.parameters(), lr=0.02)
    for _ in range(200):
        adam.zero_grad()
        sum(vgae.losses(graph, vgae(graph, x), rows).values()).backward()
        adam.step()
    every = torch.cartesian_prod(rows, rows)
    learned = vgae.edge_weight(graph, vgae.eval()(graph, x), every[:, 0], every[:, 1]).detach().view(24, 24)
    within, across = learned[graph.dense() > 0], learned[graph.dense() == 0]
    assert within.mean().item() == pytest.approx(4, abs=0.5) and within.min() > 2 * across.max()


def test_losses_of_one_region_without_edges_are_finite():
    graph, x = random_graph(1, 0.0), torch.ones(1, 2)
    vgae = VGAE(VGAE.Params(latent=3), 2)
    encoded = vgae(graph, x)
    losses = vgae.losses(graph, encoded, torch.arange(1))
    sum(losses.values()).backward()
    assert losses["reconstruction"].item() == pytest.approx(
        softplus(float(encoded.z.square().sum().detach())) ** 2, rel=1e-5
    )
    assert vgae.edge_weight(graph, encoded, graph.src, graph.dst).shape == (0,)


AFFINE = {"root_weight": True, "standardise": True, "decoder": "affine", "initial_sigma": 0.1, "kl_scale": 0.01}


def held_out_error(params: dict[str, object]) -> tuple[float, float]:
    """Squared error over the pairs of held-out nodes after training on the others, and that of a constant.

    The nodes lie in a square; their weights fall with the distance, and their features are waves over the square.
    """
    draw = np.random.default_rng(0)
    xy = draw.uniform(0, 1, (120, 2))
    weights = np.exp(-((xy[:, None] - xy) ** 2).sum(axis=2) / 0.1)
    np.fill_diagonal(weights, 0)
    waves = xy @ draw.normal(0, 3, (2, 16))
    x = torch.tensor(np.concatenate([np.sin(waves), np.cos(waves)], axis=1), dtype=torch.float32)
    graph = Graph.from_scipy(scipy.sparse.csr_array(weights))
    torch.manual_seed(0)
    vgae = VGAE(VGAE.Params(latent=16, activation="none", **params), 32)
    vgae.start(graph)
    optimizer = torch.optim.Adam(vgae.parameters(), 0.01)
    for _ in range(200):
        optimizer.zero_grad()
        sum(vgae.losses(graph, vgae(graph, x), torch.arange(90)).values()).backward()
        optimizer.step()
    vgae.eval()
    with torch.no_grad():
        measured = vgae.held_out(graph, vgae(graph, x), torch.arange(90, 120))["reconstruction"]
    pairs = ~np.eye(30, dtype=bool)
    constant = ((weights[90:, 90:][pairs] - weights.sum() / (120 * 119)) ** 2).mean()
    assert measured.reference.item() == pytest.approx(constant, rel=1e-4)
    return measured.loss.item(), measured.reference.item()


def test_the_reconstruction_of_pairs_that_training_never_saw_beats_a_constant():
    loss, constant = held_out_error(AFFINE)
    assert loss < 0.5 * constant


def test_the_reconstruction_of_the_paper_does_not():
    loss, constant = held_out_error({})
    assert loss > constant


def test_the_affine_decoder_starts_near_the_mean_weight_of_the_view():
    graph, x = random_graph(40, 0.1), features(40, 5)
    vgae = VGAE(VGAE.Params(latent=8, **AFFINE), 5).eval()
    vgae.start(graph)
    i, j = torch.triu_indices(40, 40, 1)
    weights = vgae.edge_weight(graph, vgae(graph, x), i, j)
    assert weights.mean().item() == pytest.approx(graph.weight.sum().item() / (40 * 39), rel=0.3)


def test_the_gradient_of_two_factors_is_that_of_autograd():
    graph, rows = random_graph(31, 0.3), torch.tensor([4, 0, 30, 17, 5])
    mine = [features(31, 6, seed).requires_grad_() for seed in (1, 2)]
    plain = [features(31, 6, seed).requires_grad_() for seed in (1, 2)]
    squared_error(graph, *mine, rows).backward()
    (graph.dense()[rows] - F.softplus(plain[0][rows] @ plain[1].T)).square().mean().backward()
    for factor, expected in zip(mine, plain, strict=True):
        torch.testing.assert_close(factor.grad, expected.grad, rtol=1e-4, atol=1e-6)
