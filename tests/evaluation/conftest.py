"""Tasks and inputs of a small made-up city in which everything follows from the inputs."""

from types import SimpleNamespace

import numpy as np
import pytest

from urbankit.evaluation.raw_features import RawFeatures
from urbankit.evaluation.tasks import make_task


@pytest.fixture(scope="session")
def small() -> SimpleNamespace:
    """150 regions: `xy`, `raw` with gaps, and two tasks, `y` linear in the inputs and `c` by their sign."""
    rng = np.random.default_rng(0)
    xy = rng.uniform(0, 10_000, (150, 2))
    values = rng.normal(size=(150, 6))
    y = 50 + values @ np.array([5.0, 3, 0, 0, 0, 0]) + rng.normal(0, 0.5, 150)
    c = np.where(values[:, 0] > 0, "high", "low").astype(object)
    values[:20, 4] = np.nan
    values[:20, 5] = np.nan
    y[:10] = np.nan
    tasks = {"y": make_task("y", "regression", y, transform="standard"), "c": make_task("c", "classification", c)}
    return SimpleNamespace(xy=xy, raw=RawFeatures(values, tuple("abcdef")), tasks=tasks)
