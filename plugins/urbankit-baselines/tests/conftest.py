"""Fixtures of urbankit's own; its synthetic city of 49 regions has what every baseline reads."""

from urbankit.testing.fixtures import demo_city as tiny_city
from urbankit.testing.fixtures import private_cache

__all__ = ["private_cache", "tiny_city"]
