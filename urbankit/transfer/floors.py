"""The floors of zero-shot predictions: what the source city's labels say without any learned representation."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from urbankit.evaluation.floors import FloorResults, evaluate_floors
from urbankit.evaluation.raw import RawInputs, raw_inputs
from urbankit.evaluation.splits import Split
from urbankit.evaluation.tasks import TaskData

if TYPE_CHECKING:
    from urbankit.city.city import City
    from urbankit.progress import Progress
    from urbankit.recipe.schema import Recipe
    from urbankit.transfer.zero_shot import Splits, ZeroShot

# What describes one city alone: where a region lies, and components of its flows.
BOUND = re.compile(r"x|y|flow (out|in) component \d+")


def carried_floors(
    seen: ZeroShot, city: City, recipe: Recipe, splits: Splits, progress: Progress | None = None
) -> FloorResults:
    """The recipe's floors but `location`, fitted to the labels that the heads see, and carried over to `city`.

    Their raw inputs are those of the same name in both cities. They are scored on the test parts of `splits`, and on
    all regions as `all`, under the names `floor:carried-NAME`.
    """
    names = [name for name in recipe.evaluation.floors if name != "location"]
    raw = _shared(raw_inputs(seen.city, recipe), raw_inputs(city, recipe))
    tasks = {name: _both(task, seen.scored[name]) for name, task in seen.tasks.items()}
    first, everywhere = recipe.evaluation.splits[0], np.arange(city.n_regions)
    tests = {split: parts.test for split, parts in splits.items()}
    tests |= {("all", seed): everywhere for seed in recipe.evaluation.seeds}
    fitted_on = {
        (protocol, seed): seen.splits[first if protocol == "all" else protocol, seed] for protocol, seed in tests
    }
    both = {
        split: Split(fitted_on[split].train, fitted_on[split].validation, seen.n_source + test)
        for split, test in tests.items()
    }
    xy = np.vstack([seen.city.xy, city.xy])
    records, predictions = evaluate_floors(tasks, raw, xy, both, names, progress)
    carried = {f"floor:{name}": f"floor:carried-{name}" for name in names}
    if names:
        predictions = predictions.assign(
            region=predictions["region"] - seen.n_source, model=predictions["model"].map(carried)
        )
    return FloorResults([record | {"model": carried[record["model"]]} for record in records], predictions)


def merged(one: FloorResults, other: FloorResults) -> FloorResults:
    """Both, one after the other."""
    predictions = pd.concat([one.predictions, other.predictions], ignore_index=True)
    return FloorResults([*one.records, *other.records], predictions)


def _shared(source: RawInputs, own: RawInputs) -> RawInputs:
    """The rows of both, in the columns that both have and that do not describe one city alone."""
    names = [name for name in own.names if name in source.names and not BOUND.fullmatch(name)]
    blocks = [one.values[:, [one.names.index(name) for name in names]] for one in (source, own)]
    return RawInputs(np.vstack(blocks), tuple(names))


def _both(source: TaskData, scored: TaskData) -> TaskData:
    """`scored` with the source's regions and labels before its own, in its codes of classes."""
    n = len(source.y) - len(scored.y)
    theirs = source.y[:n]
    if source.classes:
        codes = np.array([*(scored.classes.index(name) for name in source.classes), -1], dtype=np.int64)
        theirs = codes[theirs]
    return replace(
        scored,
        y=np.concatenate([theirs, scored.y]),
        labelled=np.concatenate([source.labelled[:n], scored.labelled]),
    )
