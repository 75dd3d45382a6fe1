import pytest
import torch
from helpers.fake_city import FakeCity
from helpers.twelve import prepare_twelve

from urbankit import City


@pytest.fixture
def city() -> FakeCity:
    torch.manual_seed(0)
    return FakeCity()


@pytest.fixture(scope="session")
def twelve(tmp_path_factory: pytest.TempPathFactory) -> City:
    """Twelve squares of 100 m in a row, from west to east."""
    return prepare_twelve(tmp_path_factory.mktemp("twelve"))
