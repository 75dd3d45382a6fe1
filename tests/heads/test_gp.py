"""The Gaussian process: its fit against the gradient of the likelihood by automatic differentiation."""

import pytest
import torch

from urbankit.heads.gp import GP
from urbankit.heads.gp_kernel import JITTER
from urbankit.heads.gp_likelihood import PRIOR_WEIGHT, START


@pytest.mark.parametrize("linear", [False, True])
@pytest.mark.parametrize("outputs", [1, 3])
def test_kernel_parameters_equal_those_of_adam_on_the_likelihood(linear, outputs):
    torch.manual_seed(0)
    x, y = torch.randn(40, 5).double(), torch.randn(40, outputs).double()
    head = GP(GP.Params(linear=linear, steps=25), 5, outputs)
    head.fit_values(x, y, [2, 3])
    fitted = head.theta

    # Adam on the log marginal likelihood itself (Rasmussen and Williams, 2006, equation 2.30), differentiated by torch.
    targets = y[head.order] - head.mean
    widths = {"signal": (), "length": (2,), "linear": (2,), "noise": ()}
    head.theta = {name: torch.full(widths[name], START[name]).double().requires_grad_() for name in START}
    optimizer = torch.optim.Adam(head.theta.values(), lr=head.params.learning_rate)
    for _ in range(25):
        noise = head.theta["noise"].exp() + JITTER
        scaled = torch.cat(
            [block / length.exp() for block, length in zip(head.points, head.theta["length"], strict=True)], dim=1
        )
        r = (3 * torch.cdist(scaled, scaled).square() + 1e-12).sqrt()
        kernel = head.theta["signal"].exp() * (1 + r) * torch.exp(-r) + noise * torch.eye(40).double()
        if linear:
            for block, variance in zip(head.points, head.theta["linear"].exp(), strict=True):
                kernel = kernel + variance * block @ block.T
        likelihood = torch.distributions.MultivariateNormal(torch.zeros(40).double(), kernel).log_prob(targets.T).mean()
        prior = PRIOR_WEIGHT * sum((value - START[name]).square().sum() for name, value in head.theta.items())
        optimizer.zero_grad()
        (prior - likelihood).backward()
        optimizer.step()
    for name, value in head.theta.items():
        torch.testing.assert_close(fitted[name], value.detach(), atol=1e-8, rtol=0)
