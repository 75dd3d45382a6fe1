"""The first paragraph of the report: what was predicted, how well, and where to trust it, in plain words."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd

from urbankit.evaluation.metrics import MODEL_KINDS, higher_is_better, in_words, primary
from urbankit.evaluation.splits import is_sampled, strictest, tested_on
from urbankit.evaluation.tasks import TaskData
from urbankit.runs.folder import Run
from urbankit.tables.html import WITHOUT
from urbankit.tables.table import FLOOR, floor_title, label

MOST_TASKS = 4
"""Tasks that the first screen describes; the results table has all."""

_NUMBER, _GAP = re.compile(r"\d[\d.,]*%?"), "\0"


class Summary(NamedTuple):
    """The title of the page and its first paragraph."""

    title: str
    text: str


@dataclass(frozen=True)
class _Score:
    """How well one task is predicted on the regions that are hardest for it.

    Attributes:
        title: The title of the task.
        split: The strictest protocol of the task.
        scores: What its metrics say, as predicates.
        better: Whether the method is better than the best floor; None without a floor.
        comparison: Both values, and in how many tests the method was ahead; empty without a floor.
        intervals: What the metrics of intervals say.
        probabilities: What the metrics of probabilities say.
    """

    title: str
    split: str
    scores: list[str]
    better: bool | None
    comparison: str
    intervals: list[str]
    probabilities: list[str]


def summarise(run: Run, tasks: Sequence[TaskData], city: str, regions: int | None, level: float | None) -> Summary:
    """Return the title and the first paragraph of the report of a run.

    Args:
        run: The run; its metrics may be missing.
        tasks: The tasks of the run; without the city, they are not available, and metrics name the tasks.
        city: The name of the city.
        regions: The number of regions, None if it is not known.
        level: The share of regions that intervals should cover, None if it is not known.
    """
    records = run.metrics if run.has("metrics.parquet") else None
    titles = {task.name: task.label for task in tasks} or _recorded(records)
    units = {task.name: task.unit for task in tasks}
    of = f"the {regions:,} regions of {city}" if regions is not None else f"the regions of {city}"
    if not titles:
        return Summary(f"Region embeddings of {city}", f"This run describes {of} by embeddings. It predicts nothing.")
    predicted = joined(titles.values()) if len(titles) <= MOST_TASKS else f"{len(titles)} targets"
    text = f"This run predicts {predicted} for {of}."
    scored = [] if records is None else [_score(records, name, title, units) for name, title in titles.items()]
    scores = [score for score in scored if score is not None]
    sentences = _sentences(scores, level) if scores else ["The predictions have not been tested."]
    return Summary(f"{predicted} in {city}", " ".join([text, *sentences]))


def _recorded(records: pd.DataFrame | None) -> dict[str, str]:
    return {} if records is None else {str(name): str(name) for name in dict.fromkeys(records["task"])}


def _sentences(scores: Sequence[_Score], level: float | None) -> Iterator[str]:
    """The paragraph after its first sentence: scores, the comparison with floors, and whether intervals hold."""
    described = scores[:MOST_TASKS]
    splits = joined(dict.fromkeys(tested_on(score.split) for score in described))
    first = [score.scores if len(scores) == 1 else score.scores[:1] for score in described]
    yield f"Tested on {splits} whose labels it had not seen, it {_grouped(described, first)}."
    if len(scores) > MOST_TASKS:
        yield f"The results table has the other {len(scores) - MOST_TASKS} targets."
    yield from _verdict(scores)
    intervals, probabilities = (
        _grouped(described, [getattr(score, what) for score in described]) for what in ("intervals", "probabilities")
    )
    if intervals and level is not None:
        intervals += f", and should for {level:.0%}"
    if intervals or probabilities:
        yield f"Where to trust it: {'; '.join(filter(None, (intervals, probabilities)))}."


def _verdict(scores: Sequence[_Score]) -> Iterator[str]:
    """Whether the predictions are better than those of the best floors."""
    better = [score.title for score in scores if score.better]
    others = [score.title for score in scores if score.better is False]
    best = f"than the best prediction {WITHOUT}"
    if better and others:
        yield f"That is better {best} for {joined(better)}, and not better for {joined(others)}."
    elif better or others:
        of_one = f": {scores[0].comparison}" if len(scores) == 1 else ""
        yield f"That is {'' if better else 'not '}better {best}{of_one}."


def _grouped(scores: Sequence[_Score], texts: Sequence[Sequence[str]]) -> str:
    """Return the texts of the scores, those that differ by one number only as one: `63% (co) and 54% (pm25)`."""
    if len(scores) == 1:
        return joined(texts[0])
    groups: dict[str, list[tuple[str, str]]] = {}
    for score, of_task in zip(scores, texts, strict=True):
        for text in of_task:
            numbers = _NUMBER.findall(text)
            pattern = text.replace(numbers[0], _GAP) if len(numbers) == 1 else text
            groups.setdefault(pattern, []).append((numbers[0] if len(numbers) == 1 else "", score.title))
    sentences = []
    for pattern, values in groups.items():
        if _GAP in pattern:
            sentences.append(pattern.replace(_GAP, joined(f"{number} ({title})" for number, title in values)))
        else:
            sentences.append(f"{pattern} ({joined(title for _, title in values)})")
    return ", and ".join(sentences)


def _score(records: pd.DataFrame, name: str, title: str, units: dict[str, str]) -> _Score | None:
    """Return how well a task is predicted; None if it was not tested."""
    records = records[records["task"] == name]
    if records.empty:
        return None
    split = strictest(list(records["split"].unique()))
    records = records[records["split"] == split]
    floors = records["model"].str.startswith(FLOOR)
    by_metric = records[~floors].groupby("metric")["value"].mean()
    means = {str(metric): float(value) for metric, value in by_metric.items()}
    kind = next((kind for kind in MODEL_KINDS if np.isfinite(means.get(primary(kind), np.nan))), None)
    if kind is None:
        return None
    unit = units.get(name, "")
    scores = in_words(kind, means, unit) or [f"has {_value(primary(kind), split, means[primary(kind)])}"]
    better, comparison = _against_floors(records, primary(kind), split)
    trust = in_words("interval", means, unit), in_words("probabilities", means, unit)
    return _Score(title, split, scores, better, comparison, *trust)


def _against_floors(records: pd.DataFrame, metric: str, split: str) -> tuple[bool | None, str]:
    """Return whether the method is better than the best floor, and both values, over the same seeds."""
    values = records[records["metric"] == metric].pivot_table(index="seed", columns="model", values="value")
    floors = [model for model in values if str(model).startswith(FLOOR)]
    means, methods = values[floors].mean().dropna(), [model for model in values if model not in floors]
    if means.empty or not methods:
        return None, ""
    sign = 1 if higher_is_better(metric) else -1
    best = str((sign * means).idxmax())
    ahead = (sign * (values[methods[0]] - values[best])).dropna()
    text = f"{_value(metric, split, float(values[methods[0]].mean()))} against {means[best]:.2f} ({floor_title(best)})"
    if is_sampled(split) and len(ahead) > 1:
        text += f", ahead in {int((ahead > 0).sum())} of {len(ahead)} tests"
    return bool(ahead.mean() > 0), text


def _value(metric: str, split: str, value: float) -> str:
    return f"{label(split, metric)} {value:.2f}"


def joined(texts: Iterable[str]) -> str:
    """Return `a, b and c`; empty for no text."""
    *first, last = [*texts] or [""]
    return f"{', '.join(first)} and {last}" if first else last
