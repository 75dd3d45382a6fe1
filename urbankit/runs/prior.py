"""The record of the model that the heads of a run start from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def prior_line(facts: Mapping[str, Any]) -> str:
    """Describe the key `prior` of a manifest: the model, its city, and the tasks whose heads start from it."""
    tasks = ", ".join(facts.get("tasks") or ()) or "no task"
    return f"{facts.get('name')}, trained on {facts.get('city')} ({tasks})"
