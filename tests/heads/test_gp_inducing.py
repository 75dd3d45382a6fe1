"""The Gaussian process on many points against dense formulas and against the exact process."""

import pytest
import torch

from urbankit.heads import gp_kernel
from urbankit.heads.gp import GP
from urbankit.heads.gp_kernel import JITTER
from urbankit.utils.errors import RunError

BLOCKS = [3, 2]


def sample(n: int, outputs: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(1)
    x = torch.randn(n, sum(BLOCKS)).double()
    signals = [torch.sin(2 * x[:, k % 3]) + x[:, 3] for k in range(outputs)]
    return x, torch.stack(signals, dim=1) + 0.3 * torch.randn(n, outputs).double()


@pytest.mark.parametrize("linear", [False, True])
@pytest.mark.parametrize("outputs", [1, 3])
def test_predictions_through_inducing_points_equal_the_dense_formula(linear, outputs):
    x, y = sample(80, outputs)
    head = GP(GP.Params(linear=linear, steps=5, max_points=50, inducing_points=12), 5, outputs)
    head.fit_values(x, y, BLOCKS)

    def kernel(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return gp_kernel.gram(head.theta, head._blocks(a), head._blocks(b), linear)

    inducing = x[head.order]
    assert len(inducing) == 12
    middle = kernel(inducing, inducing)
    middle = middle + 1e-6 * middle.diagonal().mean() * torch.eye(12).double()
    low_rank = kernel(x, inducing) @ torch.linalg.solve(middle, kernel(inducing, x))
    variances = (kernel(x, x) - low_rank).diagonal().clamp(min=0) + head.theta["noise"].exp() + JITTER
    weights = torch.linalg.solve(low_rank + torch.diag(variances), y - y.mean(dim=0))
    new = torch.randn(7, 5).double()
    expected = kernel(new, inducing) @ torch.linalg.solve(middle, kernel(inducing, x) @ weights) + y.mean(dim=0)
    torch.testing.assert_close(head.predict_with(new, head.weights), expected, atol=1e-6, rtol=0)


def test_inducing_points_at_all_regions_give_the_exact_process():
    x, y = sample(60)
    new = torch.randn(9, 5).double()
    exact, approximate = (GP(GP.Params(steps=5, max_points=most, inducing_points=60), 5, 1) for most in (60, 59))
    predicted = []
    for head in (exact, approximate):
        torch.manual_seed(0)
        head.fit_values(x, y, BLOCKS)
        predicted.append(head.predict_with(new, head.weights))
    torch.testing.assert_close(*predicted, atol=1e-4, rtol=0)


def test_inducing_points_predict_nearly_as_well_as_the_exact_process():
    x, y = sample(1500)
    errors = []
    for most in (1000, 999):
        torch.manual_seed(0)
        head = GP(GP.Params(max_points=most, inducing_points=200, search_points=200), 5, 1)
        head.fit_values(x[:1000], y[:1000], BLOCKS)
        errors.append(float((head.predict_with(x[1000:], head.weights) - y[1000:]).square().mean() / y.var()))
    assert abs(errors[0] - errors[1]) < 0.01


def test_sample_uses_as_many_regions_as_it_says():
    x, y = sample(60)
    head = GP(GP.Params(steps=1, max_points=20, beyond="sample"), 5, 1)
    head.fit_values(x, y, BLOCKS)
    assert len(head.order) == len(head.weights) == 20


def test_several_training_sets_are_fitted_as_each_alone():
    x, y = sample(120)
    sets, values = x.reshape(2, 60, 5), y.reshape(2, 60, 1)
    params = GP.Params(steps=3, max_points=30, inducing_points=10)
    new = torch.randn(6, 5).double()
    torch.manual_seed(0)
    together = GP(params, 5, 1)
    together.fit_values(sets, values, BLOCKS)
    predicted = together.predict_with(new, together.weights)
    for index in range(2):
        torch.manual_seed(0)
        alone = GP(params, 5, 1)
        alone.fit_values(sets[index], values[index], BLOCKS)
        torch.testing.assert_close(predicted[index], alone.predict_with(new, alone.weights), atol=1e-8, rtol=0)


def test_embedding_that_is_not_finite_is_one_message():
    x, y = sample(40)
    x[:, 0] = float("inf")
    head = GP(GP.Params(steps=1, max_points=20, inducing_points=5), 5, 1)
    with pytest.raises(RunError, match="not positive definite"):
        head.fit_values(x, y, BLOCKS)
