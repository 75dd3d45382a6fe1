"""The running average of weights, and of the statistics that belong to them."""

import torch
from torch import nn

from urbankit.training.ema import WeightAverage


def test_statistics_of_batch_normalisation_are_averaged_with_the_weights() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    average = WeightAverage(model, 0.5)
    expected = {name: value.detach().clone() for name, value in model.state_dict().items() if value.is_floating_point()}
    for update in range(4):
        model(torch.randn(8, 3) + update)
        with torch.no_grad():
            model[0].weight.add_(1.0)
        average.update()
        decay = min(0.5, (1 + update) / (10 + update))
        state = model.state_dict()
        expected = {name: decay * value + (1 - decay) * state[name] for name, value in expected.items()}
    own = {name: value.clone() for name, value in model.state_dict().items()}
    with average.in_place():
        for name, value in expected.items():
            torch.testing.assert_close(model.state_dict()[name], value)
    for name, value in own.items():
        assert torch.equal(model.state_dict()[name], value)


def test_a_frozen_part_is_not_averaged() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4)).requires_grad_(False)
    model.append(nn.Linear(4, 1))
    assert set(WeightAverage(model, 0.9).state) == {"2.weight", "2.bias"}
