"""Compares the numbers that encoders read with the targets of a run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from urbankit.city.city import City
from urbankit.city.leaks import Columns, LeakCheck, check_leaks
from urbankit.evaluation.tasks import TaskData
from urbankit.modalities.base import ModalityEncoder
from urbankit.recipe.recipe import Recipe


def check_encoders(
    encoders: Iterable[ModalityEncoder], tasks: Mapping[str, TaskData], recipe: Recipe, city: City
) -> LeakCheck:
    """Compare every column that an encoder reads with every target of the recipe.

    Several observations of a region are averaged. Raises `UserError` for a column that equals a target or almost,
    unless the recipe or the city file allows it.
    """
    sources = []
    for encoder in encoders:
        columns = encoder.columns_read()
        if columns is not None:
            values, region, names = columns
            sources.append(Columns(f"modalities.{encoder.modality}", _by_region(values, region, city.n_regions), names))
    allowed = [*recipe.allow_leak, *city.manifest["spec"].get("allow_leak", [])]
    targets = {of: values for name, task in tasks.items() for of, values in _targets(name, task).items()}
    return check_leaks(sources, targets, allowed)


def _by_region(values: np.ndarray, region: NDArray[np.int64], n_regions: int) -> np.ndarray:
    """float64[N, F]: the mean of the observations of every region, NaN without one."""
    total, count = np.zeros((n_regions, values.shape[1])), np.zeros((n_regions, values.shape[1]))
    finite = np.isfinite(values)
    np.add.at(total, region, np.where(finite, values, 0.0))
    np.add.at(count, region, finite)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(count > 0, total / count, np.nan)


def _targets(name: str, task: TaskData) -> dict[str, np.ndarray]:
    """What columns are compared with: the numbers or classes of a task, or the shares of each part."""
    if task.parts:
        return {f"{name} (share: {part})": of_part for part, of_part in zip(task.parts, task.y.T, strict=True)}
    if not task.classes:
        return {name: np.where(task.labelled, task.y, np.nan)}
    return {name: np.array([*task.classes, None], dtype=object)[task.y]}
