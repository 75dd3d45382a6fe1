import pytest
import torch
from helpers.fake_city import FakeCity


@pytest.fixture
def city() -> FakeCity:
    torch.manual_seed(0)
    return FakeCity()
