"""Heads: shapes, and the numbers of the linear one."""

import math

import pytest
import torch

from urbankit import registry
from urbankit.heads import gp
from urbankit.registry.component import Use
from urbankit.utils.errors import UserError


def test_linear_is_an_affine_map():
    head = registry.create("head", Use(name="linear"), 2, 1)
    x = torch.randn(4, 2)
    assert torch.allclose(head(x), x @ head.layer.weight.T + head.layer.bias)


def test_gp_predicts_the_posterior_mean_of_its_kernel():
    """Against equation 2.25 of Rasmussen and Williams, with the kernel of the docstring written out as loops."""
    torch.manual_seed(0)
    z, y, new = torch.randn(12, 5), torch.randn(12), torch.randn(3, 5)
    head = registry.create("head", Use(name="gp", steps=5, linear=True), 5, 1)
    head.fit(z, y, [2, 3])
    theta = {name: value.exp() for name, value in head.theta.items()}

    def kernel(a: torch.Tensor, b: torch.Tensor) -> float:
        r2 = linear = 0.0
        for block, (start, stop) in enumerate(((0, 2), (2, 5))):
            width = stop - start
            r2 += float((a[start:stop] - b[start:stop]).square().sum() / width / theta["length"][block] ** 2)
            linear += float(theta["linear"][block] * (a[start:stop] @ b[start:stop]) / width)
        r = (3 * r2) ** 0.5
        return float(theta["signal"]) * (1 + r) * math.exp(-r) + linear

    points = z.double()
    gram = torch.tensor([[kernel(a, b) for b in points] for a in points], dtype=torch.float64)
    cross = torch.tensor([[kernel(a, b) for b in points] for a in new.double()], dtype=torch.float64)
    noise = (theta["noise"] + 1e-4) * torch.eye(12, dtype=torch.float64)
    mean = y.double().mean()
    expected = cross @ torch.linalg.solve(gram + noise, y.double() - mean) + mean
    assert torch.allclose(head(new).squeeze(1), expected, atol=1e-5)


def test_gp_gives_the_informative_block_a_short_length_scale():
    torch.manual_seed(0)
    z = torch.randn(150, 6)
    y = torch.sin(2 * z[:, 0])
    head = registry.create("head", Use(name="gp"), 6, 1)
    head.fit(z[:100], y[:100], [1, 5])
    assert head.theta["length"][0] < head.theta["length"][1]
    assert (head(z[100:]).squeeze(1) - y[100:]).square().mean() < 0.1 * y.var()


@pytest.mark.parametrize("name", ["gp", "forest"])
def test_fitted_heads_separate_classes_and_accept_a_class_without_regions(name):
    torch.manual_seed(0)
    labels = torch.arange(60) % 2
    z = torch.randn(60, 4) + 4 * labels.unsqueeze(1)
    head = registry.create("head", Use(name=name), 4, 3)
    head.fit(z[:40], labels[:40], [4])
    out = head(z[40:])
    assert out.shape == (20, 3)
    assert (out.argmax(dim=1) == labels[40:]).float().mean() > 0.9


def test_forest_regresses_and_predicts_the_same_bits_again():
    torch.manual_seed(0)
    z = torch.rand(200, 3)
    head = registry.create("head", Use(name="forest", trees=50), 3, 1)
    head.fit(z[:150], z[:150, 0], [3])
    assert (head(z[150:]).squeeze(1) - z[150:, 0]).abs().mean() < 0.1
    first = head(z)
    assert all(torch.equal(head(z), first) for _ in range(10))


@pytest.mark.parametrize("linear", [False, True])
def test_gp_predictions_do_not_depend_on_the_batch_size(linear, monkeypatch):
    z, y, new = torch.randn(30, 5), torch.randn(30), torch.randn(20, 5)
    predicted = []
    for rows in (1024, 7):
        monkeypatch.setattr(gp, "ROWS_AT_ONCE", rows)
        torch.manual_seed(0)
        head = registry.create("head", Use(name="gp", steps=3, linear=linear), 5, 1)
        head.fit(z, y, [2, 3])
        predicted.append(head(new))
    assert torch.allclose(*predicted, atol=1e-9)


def adaptive(blocks: list[int], **params):
    torch.manual_seed(0)
    head = registry.create("head", Use(name="task_adaptive", **params), sum(blocks), 1)
    head.divide(blocks)
    return head


def test_untrained_task_adaptive_equals_its_inner_head():
    head, z = adaptive([2, 4]).eval(), torch.randn(5, 6)
    assert torch.allclose(head(z), head.head(z), atol=1e-6)


def test_task_adaptive_multiplies_every_block_by_its_weight():
    head, z = adaptive([2, 1], head={"name": "linear"}, temperature=0.5), torch.randn(5, 3)
    with torch.no_grad():
        head.gate.copy_(torch.tensor([0.3, -0.1]))
    raw = [math.exp(0.6), math.exp(-0.2)]
    first, second = (2 * value / sum(raw) for value in raw)
    assert torch.allclose(head(z), head.head(z * torch.tensor([first, first, second])), atol=1e-6)
    assert torch.allclose(head.block_weights(), torch.tensor([first, second]))


def test_task_adaptive_gives_the_informative_block_more_weight():
    head = adaptive([3, 3], head={"name": "linear"})
    z = torch.randn(200, 6)
    optimizer = torch.optim.AdamW(head.parameters(), lr=3e-2, weight_decay=0.1)
    for _ in range(100):
        optimizer.zero_grad()
        (head(z).squeeze(1) - z[:, 0]).square().mean().backward()
        optimizer.step()
    weights = head.block_weights()
    assert weights[0] > 1.2 > 0.8 > weights[1]


def test_task_adaptive_refuses_fitted_heads():
    with pytest.raises(UserError, match="passes no gradient"):
        registry.create("head", Use(name="task_adaptive", head={"name": "gp"}), 4, 1)


@pytest.mark.parametrize("name", ["linear", "mlp", "gp", "forest"])
def test_heads_without_block_weights_return_none(name):
    assert registry.create("head", Use(name=name), 4, 1).block_weights() is None
