"""The parts of distributions as tasks of one number each, as maps, figures and tables of regions show them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import pandas as pd

from urbankit.city.texts import Text
from urbankit.evaluation.tasks import PREDICTION_SHARE, TRUTH_SHARE, TaskData, part_name


def part_tasks(tasks: Iterable[TaskData]) -> list[TaskData]:
    """Return the tasks with a regression `TASK_share_PART` for each part in place of a distribution."""
    parts: list[TaskData] = []
    for task in tasks:
        if not task.parts:
            parts.append(task)
        for part, y in zip(task.parts, task.y.T, strict=False):
            text = task.class_texts.get(part, Text())
            of_part = replace(
                task,
                name=part_name(task.name, part),
                kind="regression",
                y=y,
                parts=(),
                class_texts={},
                part_of=task.name,
            )
            title, description = f"{task.label}: {text.title or part}", text.description or task.description
            parts.append(replace(of_part, title=title, description=description))
    return parts


def part_predictions(predictions: pd.DataFrame) -> pd.DataFrame:
    """Return a table of predictions with the rows of `part_tasks` in place of those of distributions."""
    shares = share_rows(predictions)
    if shares.empty:
        return predictions
    others = predictions[~predictions["task"].isin(_distributions(predictions))]
    return pd.concat([others.assign(part_of="")[shares.columns], shares], ignore_index=True)


def share_rows(predictions: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of the parts of distributions alone, with `part_of`, the distribution; empty without one."""
    names = [str(name).removeprefix(PREDICTION_SHARE) for name in predictions if str(name).startswith(PREDICTION_SHARE)]
    columns = [name for name in predictions if not str(name).startswith((TRUTH_SHARE, PREDICTION_SHARE))]
    tables = []
    for task in _distributions(predictions):
        rows = predictions[predictions["task"] == task]
        for part in names:
            shares = rows[f"{PREDICTION_SHARE}{part}"]
            if shares.notna().any():
                of_part = rows[columns].assign(
                    task=part_name(str(task), part), truth_class=None, prediction_class=None, part_of=task
                )
                tables.append(of_part.assign(truth=rows[f"{TRUTH_SHARE}{part}"], prediction=shares))
    return pd.concat(tables, ignore_index=True) if tables else predictions.iloc[:0]


def _distributions(predictions: pd.DataFrame) -> list[str]:
    """The tasks that have shares."""
    names = [name for name in predictions if str(name).startswith(PREDICTION_SHARE)]
    if not names:
        return []
    has_shares = np.isfinite(predictions[names].to_numpy(np.float64)).any(axis=1)
    return list(dict.fromkeys(predictions.loc[has_shares, "task"]))
