"""Fixtures of urbankit."""

from urbankit.testing.fixtures import private_cache, session_cache, tiny_city
from urbankit.testing.fixtures import real_data as shared_data

__all__ = ["private_cache", "session_cache", "shared_data", "tiny_city"]
