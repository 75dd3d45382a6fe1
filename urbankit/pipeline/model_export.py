"""The exporter `model`: a run as a model folder, which embeds and predicts other cities."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from urbankit import registry
from urbankit.evaluation.carried_head import CarriedHead
from urbankit.evaluation.metrics import metric_label
from urbankit.export.base import FolderExporter
from urbankit.pipeline.model import Model
from urbankit.pipeline.model_files import (
    CARD,
    HEADS,
    MODEL,
    WEIGHTS,
    calibrating_cities,
    check_replaceable,
    without_paths,
    write_files,
)
from urbankit.pipeline.model_sources import ModelOfRun
from urbankit.report.card import escape, front_matter, index_entry
from urbankit.runs.folder import Run
from urbankit.utils.files import write_text
from urbankit.utils.ledger import LEDGER, start_ledger
from urbankit.utils.removal import remove_file, remove_partial_files
from urbankit.utils.version import __version__


class ModelExporter(FolderExporter):
    """Weights (safetensors), description (JSON), heads for other cities, and a card.

    It holds no label, no region id and no embedding of a region.
    """

    def write_folder(self, run: Run, folder: Path, *, force: bool) -> list[str]:
        source = ModelOfRun(run.path)
        model = Model(source)
        if not (force and folder.is_dir()):
            check_replaceable(folder, "choose another --out, or use --force")
        heads = model.heads
        method = registry.get("method", model.facts["method"])
        state = {name: value for name, value in model.state.items() if name not in method.region_state}
        facts = without_paths({"urbankit": __version__, "name": model.recipe.name} | model.facts)
        facts["outline"] = model.outline
        folder.mkdir(parents=True, exist_ok=True)
        remove_partial_files(folder)
        remove_file(folder / MODEL)  # until it is written again, the folder is no model
        start_ledger(folder)
        write_text(folder / CARD, card(facts, list(heads.values())))
        write_files(folder, facts, state, heads)
        return [*(f"not carried over: {line}" for line in _left_out(facts)), *source.notes]


def card(facts: dict[str, Any], heads: list[CarriedHead]) -> str:
    """Return the card of a model, in Markdown."""
    recipe = facts["recipe"]
    reads = [
        f"modality {_code(name)} ({_code(use['name'])})"
        for name, use in recipe["modalities"].items()
        if name not in facts["left_out"]
    ]
    reads += [f"view {_code(name)} ({_code(use['name'])})" for name, use in recipe["views"].items()]
    pretrained = {name: of for name, of in (facts["pretrained"] or {}).items() if of.get("name")}
    bands = [f"bands of the images {_code(name)}: {', '.join(map(_code, of))}" for name, of in facts["bands"].items()]
    lines = [
        "---",
        front_matter(facts["name"], facts["method"], facts["city"], list(_results(facts, heads))),
        "---",
        "",
        f"# {escape(facts['name'])}",
        "",
        f"Region embeddings by `{facts['method']}`, trained {_labels_used(facts)} on {escape(facts['city'])} "
        f"({facts['regions']} regions) with urbankit {facts['urbankit']}.",
        "",
        "```bash",
        "urbankit embed MODEL CITY --out embeddings.parquet",
        "urbankit predict MODEL --city CITY --out predictions.gpkg",
        "```",
        "",
        "## What a city needs",
        "",
        *(f"- {line}" for line in [*reads, *bands]),
        "",
        "Columns, categories of points of interest and bands are matched by name.",
        "",
        "## What does not carry over",
        "",
        *([f"- {escape(line)}" for line in _left_out(facts)] or ["Nothing is left out."]),
        "",
        "## Heads",
        "",
        *_head_lines(facts, heads),
        "",
        "## What is in the folder",
        "",
        f"- `{WEIGHTS}`: the weights of the method and its encoders",
        f"- `{HEADS}`: for each task the coefficients, the smallest and largest label, and the sorted residuals",
        f"- `{MODEL}`: the recipe, what it reads, and the outline of its city",
        f"- `{LEDGER}`: size and SHA-256 of each file",
        "",
        "It holds no label, no region id and no embedding of a region.",
        "",
        "## Licence and attribution",
        "",
        "The front matter says `other`: urbankit does not know the terms of the data that the model was trained on.",
        "Before you publish the model, put its licence there, and name here whom the licences of its data ask to name.",
        *(f"The pretrained weights of {_code(name)} are {_code(of['name'])}." for name, of in pretrained.items()),
        "",
    ]
    return "\n".join(lines)


def _results(facts: dict[str, Any], heads: list[CarriedHead]) -> Iterator[dict[str, Any]]:
    """The scores of the heads, for the front matter."""
    for head in heads:
        if math.isfinite(head.score):
            metric = {"type": head.metric, "value": head.score, "name": f"{metric_label(head.metric)}, out of fold"}
            yield index_entry(head.name, bool(head.classes), calibrating_cities(facts), "folds", [metric])


def _labels_used(facts: dict[str, Any]) -> str:
    """Whether pre-training used labels, of which tasks, and of which cities only to decide when to stop."""
    if not facts["supervised"]:
        return "without labels"
    held_out = ", ".join(map(escape, facts["held_out"]))
    tasks = ", ".join(map(_code, facts["supervised"]))
    return f"with the labels of {tasks} (those of {held_out} only to stop)"


def _head_lines(facts: dict[str, Any], heads: list[CarriedHead]) -> Iterator[str]:
    if not heads:
        yield "There are none: the model embeds, and does not predict."
        return
    yield "Each head is a ridge regression on the embedding. It replaces the head of the recipe, which may keep data of"
    yield "its regions. The score is that of predictions without the fold of the region. A fold is a part of the city,"
    yield "or whole cities if there are several; cities whose labels pre-training learned from do not count."
    yield ""
    yield "| task | unit or classes | labels | score |"
    yield "|---|---|---|---|"
    for head in heads:
        of = ", ".join(head.classes) or head.unit or "–"
        score = f"{metric_label(head.metric)} {head.score:.3f}"
        yield f"| {escape(head.name)} | {escape(of)} | {head.labelled} | {score} |"
    yield ""
    cities = escape(calibrating_cities(facts))
    yield f"Intervals and probabilities are calibrated on these predictions in {cities}. In another city they may cover"
    yield "less than their level says."


def _left_out(facts: dict[str, Any]) -> list[str]:
    return [f"modality {name}: {reason}" for name, reason in facts["left_out"].items()]


def _code(text: str) -> str:
    """A name between backticks, which know no escapes."""
    return f"`{' '.join(text.split()).replace('`', chr(39))}`"
