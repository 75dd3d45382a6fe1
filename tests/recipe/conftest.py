import pytest


@pytest.fixture(autouse=True)
def _fresh_registry(fresh_registry: None) -> None:
    """Every test of this folder starts from a registry of urbankit's own components."""
