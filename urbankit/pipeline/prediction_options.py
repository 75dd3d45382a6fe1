"""What users give to a prediction: tasks, the level of intervals and the file that it is written to."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd
from pydantic import ValidationError

from urbankit import registry
from urbankit.export.export import without_geometry
from urbankit.export.tables import ExportTable
from urbankit.recipe.schema import Predict
from urbankit.registry.component import Use
from urbankit.utils.errors import Problem, Problems, UserError, suggest
from urbankit.utils.files import atomic_path
from urbankit.utils.written import check_new

F = TypeVar("F")


def predict_settings(values: Mapping[str, Any]) -> Predict:
    """A section `predict` with these values. Raises `UserError` naming the options of the wrong ones."""
    try:
        return Predict(**values)
    except ValidationError as error:
        mistakes = [(one["msg"].removeprefix("Value error, "), one["loc"]) for one in error.errors()]
        raise UserError(Problem(message, key=f"--{location[0]}") for message, location in mistakes) from None


def select_tasks(fits: Mapping[str, F], tasks: str | list[str] | None, title: str) -> dict[str, F]:
    """The requested ones of `fits`, by default all. Raises `UserError` for tasks that `title` lacks."""
    names = [tasks] if isinstance(tasks, str) else tasks or list(fits)
    problems = Problems()
    for name in names:
        if name not in fits:
            problems.add(f"{title} has no task '{name}'.{suggest(name, fits)}", key="--task")
    problems.raise_if_any()
    return {name: fits[name] for name in names}


def write_predictions(table: ExportTable, path: Path, *, force: bool = False) -> None:
    """Write predictions to one file, in the format of the exporter that its suffix belongs to.

    Args:
        table: The `export` of predictions.
        path: The file: `.parquet`, `.gpkg`, `.csv` or the suffix of a plugin's exporter of one file.
        force: Also replace a file that exists.

    Raises:
        UserError: If the suffix is another one, or the file exists.
    """
    exporters: dict[str, str] = {}
    for exporter in registry.names("exporter"):
        files = registry.get("exporter", exporter).files
        if len(files) == 1:
            exporters.setdefault(Path(files[0]).suffix, exporter)
    name = exporters.get(path.suffix.lower())
    if name is None:
        message = f"its suffix is none of {', '.join(sorted(exporters))}, which predictions can be written to"
        raise UserError(Problem(message, path, key="--out"))
    if registry.get("exporter", name).needs_geometry and not table.has_geometry:
        raise UserError(Problem(without_geometry([name]), path, key="--out"))
    check_new(path, "--out", force)
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as temporary:
        registry.create("exporter", Use(name=name), None).write(table, [temporary])


def in_unit(task: str, unit: str) -> str:
    """The name of a task with its unit."""
    return f"{task} ({unit})" if unit else task


def mean_width(table: pd.DataFrame, task: str) -> str:
    """The mean width of the intervals of a task, as text."""
    width = float((table[f"{task}_upper"] - table[f"{task}_lower"]).mean())
    return "–" if np.isnan(width) else f"{width:.4g}"
