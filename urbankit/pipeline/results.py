"""What a run leaves of its results: tables of metrics and predictions, figures, the report and the model card."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from urbankit.analysis.anchors import find_anchors
from urbankit.analysis.walks import sample_walks
from urbankit.city.city import City
from urbankit.evaluation.splits import ALL, Split
from urbankit.evaluation.tasks import Scored, TaskData
from urbankit.methods.base import Method
from urbankit.recipe.recipe import Recipe
from urbankit.report import draw_all, write_report
from urbankit.report.card import write_card
from urbankit.runs.context import RunContext
from urbankit.runs.folder import Run
from urbankit.runs.writers import (
    write_block_weights,
    write_history,
    write_metrics,
    write_predictions,
    write_walks,
)
from urbankit.training.finetune import Finetuned
from urbankit.utils.progress import Progress

Results = dict[tuple[str, int], "Finetuned"]
"""What fine-tuning predicts, by split protocol and seed."""


def score(model: str, tasks: dict[str, TaskData], splits: dict[tuple[str, int], Split], results: Results) -> Scored:
    """Metrics and predictions of what was fine-tuned, on the test part of each split, or of `ALL` labelled regions."""
    scored = []
    for (protocol, seed), result in results.items():
        for name, task in tasks.items():
            if protocol == ALL:
                regions = task.labelled.nonzero()[0]
            else:
                regions = splits[protocol, seed].of(task.labelled, name).test
            predicted = result.predictions[name][regions]
            records = task.records(model, protocol, seed, regions, predicted)
            scored.append(Scored(records, task.predictions(model, protocol, seed, {"test": regions}, predicted)))
    return Scored.joined(scored)


def write_results(folder: Path, city: City, method: Scored, floors: Scored, history: list[dict[str, Any]]) -> None:
    """The losses of training, and metrics and predictions of the method and its floors."""
    write_history(folder, history)
    write_predictions(folder, city, method.predictions, floors.predictions)
    write_metrics(folder, [*method.records, *floors.records])


def write_weights_of_blocks(folder: Path, results: Results, names: Sequence[str]) -> None:
    """What each task's head leans on, of the heads that say so; `names` are those of the embedding's blocks."""
    rows = [
        {"task": task, "split": protocol, "seed": seed, "block": name, "weight": weight}
        for (protocol, seed), result in results.items()
        for task, weights in result.block_weights.items()
        for name, weight in zip(names or map(str, range(len(weights))), weights, strict=True)
    ]
    write_block_weights(folder, rows)


def draw_walks(folder: Path, city: City, method: Method, recipe: Recipe) -> None:
    """What the method draws around three anchor regions in each view; nothing of methods that draw nothing."""
    anchors = find_anchors(city, recipe.report.anchors)
    write_walks(folder, sample_walks(method, anchors, city.region_ids, recipe.seed))


def draw_figures(folder: Path, city: City) -> None:
    """The figures of the run in `folder`."""
    draw_all(RunContext.of(Run.open(folder), city))


def write_pages(folder: Path, city: City, progress: Progress) -> None:
    """The report and the model card of the finished run in `folder`, which show its manifest as it now is."""
    finished = Run.open(folder)
    for sentence in write_report(RunContext.of(finished, city)).missing:
        progress.say(f"report: {sentence}")
    write_card(finished, city)
