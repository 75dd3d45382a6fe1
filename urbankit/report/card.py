"""The model card of a run: `README.md` in the form of Hugging Face's, with data, metrics, floors and limits."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from huggingface_hub import ModelCardData
from jinja2 import Environment, PackageLoader, StrictUndefined

from urbankit.city.city import City
from urbankit.city.texts import city_title
from urbankit.evaluation.metrics import compares, higher_is_better
from urbankit.evaluation.splits import describe_protocol, is_few, protocol_label
from urbankit.evaluation.tasks import TaskData
from urbankit.runs import view_measures
from urbankit.runs.folder import Run
from urbankit.runs.prior import prior_line
from urbankit.tables.markdown import grid
from urbankit.tables.results import ResultsTable
from urbankit.tables.table import FLOOR, Row, Table, label
from urbankit.utils.errors import UserError
from urbankit.utils.files import write_text
from urbankit.utils.ledger import LEDGER, is_listed, record
from urbankit.utils.written import is_own


class Markdown(str):
    """A text that is Markdown already: the template does not escape it."""


def escape(value: object) -> Markdown:
    """Return a text from data as Markdown shows it, on one line: no markup, no HTML, no end of a table's cell."""
    if isinstance(value, Markdown):
        return value
    text = _line(value).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return Markdown(re.sub(r"([\\`*_\[\]{}|~#$])", r"\\\1", text))


def _line(text: object) -> str:
    return " ".join(str(text).split())


def _code(text: object) -> Markdown:
    """A name between backticks, which know no escapes."""
    return Markdown(_line(text).replace("`", "'"))


_TEMPLATES = Environment(
    loader=PackageLoader("urbankit.report"),
    finalize=escape,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
)
_TEMPLATES.filters["code"] = _code


def write_card(run: Run, city: City | None = None, tasks: Sequence[TaskData] = ()) -> Path:
    """Write the card into the run's folder; see `model_card`.

    A card that someone has edited stays, and is no file of urbankit's any more: its ledger does not list it.
    """
    path, folder = run.path / "README.md", run.path.absolute()
    recorded = is_listed(folder, path)
    if not path.exists() or not (run.path / LEDGER).is_file() or (recorded and is_own(path)):
        write_text(path, model_card(run, city, tasks))
    elif recorded:
        record(folder, path, {})
    return path


def model_card(run: Run, city: City | None = None, tasks: Sequence[TaskData] = ()) -> str:
    """Return the card of a run: YAML front matter and Markdown.

    The card names what the run or its city lacks. `tasks` have the titles of the targets. Every text that comes from
    data, recipe or manifest is escaped.
    """
    manifest, recipe = run.manifest, run.recipe
    table = run.table() if run.has("metrics.parquet") and len(run.metrics) else None
    titles = {task.name: task.label for task in tasks}
    city_name = city_title(city) if city is not None else str(manifest.get("city") or "a city")
    results = [] if table is None else [result for one in table.tables for result in _index(one, city_name)]
    return _TEMPLATES.get_template("card.md").render(
        front_matter=Markdown(front_matter(recipe.name, recipe.method.name, city_name, results)),
        name=recipe.name,
        description=recipe.description,
        city=city,
        city_name=city_name,
        regions=_regions(run, city),
        size=_size(run),
        method=recipe.method.name,
        version=(manifest.get("versions") or {}).get("urbankit"),
        started=f", {manifest['started'][:10]}" if manifest.get("started") else "",
        coverage=_coverage(city),
        recipe=recipe,
        components={
            "Modalities": {name: use.name for name, use in recipe.modalities.items()},
            "Views": {name: use.name for name, use in recipe.views.items()},
            "Heads": {name: task.head.name for name, task in recipe.tasks.items()},
        },
        epochs=_epochs(manifest),
        prior=prior_line(manifest["prior"]) if manifest.get("prior") else None,
        pretrained={modality: _weights(facts) for modality, facts in (manifest.get("pretrained") or {}).items()},
        table=table,
        grids=[] if table is None else [Markdown(grid(one)) for one in table.titled(titles)],
        view_lines=_view_lines(run),
        targets=[task for task in tasks if task.title or task.description],
        limits=_limits(run, city, table),
    )


# Front matter


def front_matter(name: str, method: str, city_name: str, results: Sequence[Mapping[str, Any]]) -> str:
    """Return what the hub reads of a card, in YAML; `results` are entries of a `model-index`."""
    data = ModelCardData(
        license="other",
        library_name="urbankit",
        tags=["region-embeddings", "urban-computing", "geospatial", _slug(method)],
        datasets=[_slug(city_name)],
    )
    if results:
        # Not by `EvalResult`: it merges all tasks of one kind on one city into one task.
        data["model-index"] = [{"name": _line(name), "results": list(results)}]
    return str(data.to_yaml())


def index_entry(
    task: str, classified: bool, city_name: str, split: str, metrics: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """Return the entry of a `model-index` with metrics of one task."""
    return {
        "task": {"type": "tabular-classification" if classified else "tabular-regression", "name": task},
        "dataset": {"type": _slug(city_name), "name": _line(city_name), "config": split, "split": "test"},
        "metrics": list(metrics),
    }


def _index(table: Table, city_name: str) -> Iterator[dict[str, Any]]:
    """The method's metrics of one task, a result for each split."""
    kinds = ("classification", "clustering")
    classified = any(compares(column.metric, one) for column in table.columns for one in kinds)
    for row in table.rows:
        for indices in table.groups.values():
            split = table.columns[indices[0]].split
            metrics = [
                {
                    "type": table.columns[index].metric,
                    "value": float(row.cells[index].mean),
                    "name": f"{label(split, table.columns[index].metric)}, {_seeds(row.cells[index].n, split)}",
                }
                for index in indices
                if np.isfinite(row.cells[index].mean)
            ]
            if metrics:
                yield index_entry(table.corner, classified, city_name, split, metrics)


def _seeds(count: int, split: str) -> str:
    unit = "draw" if is_few(split) else "seed"
    return f"one {unit}" if count == 1 else f"mean of {count} {unit}s"


def _slug(text: str) -> str:
    """A name as the Hub's identifiers are written."""
    return re.sub(r"[^A-Za-z0-9._]+", "-", text).strip("-.") or "city"


# Sections


def _size(run: Run) -> str:
    if not run.has("embeddings.parquet"):
        return "Region embeddings"
    regions, dim = run.vectors.shape
    return f"Embeddings of {regions:,} regions, {dim:,} numbers each"


def _regions(run: Run, city: City | None) -> str:
    if city is not None:
        if not city.has_geometry:
            return f"{city.n_regions:,} regions, without geometry"
        return f"{city.n_regions:,} regions, {float(city.area_km2.sum()):,.1f} km², {city.crs}"
    regions = run.manifest.get("regions")
    return f", {regions:,} regions" if isinstance(regions, int) else ""


def _epochs(manifest: dict[str, Any]) -> int | None:
    pretraining = (manifest.get("training") or {}).get("pretrain")
    return pretraining.get("epochs") if isinstance(pretraining, dict) else None


def _view_lines(run: Run) -> list[str]:
    if not run.has(view_measures.FILE):
        return []
    table = run.view_measures
    return view_measures.lines(
        view_measures.read_orders(table), view_measures.read_losses(table), view_measures.read_recalls(table)
    )


def _weights(facts: dict[str, Any]) -> dict[str, Any]:
    """The name of pretrained weights, and what else is recorded of them."""
    others = ", ".join(f"{key} {value}" for key, value in facts.items() if key != "name" and value)
    return {"name": facts.get("name"), "facts": others}


def _coverage(city: City | None) -> list[tuple[str, str, int, float]]:
    try:
        return (
            []
            if city is None
            else [(str(kind), str(name), int(n), float(s)) for kind, name, n, s in city.report.coverage()]
        )
    except UserError:
        return []


def _limits(run: Run, city: City | None, table: ResultsTable | None) -> Iterator[str]:
    if table is not None:
        for one in table.tables:
            yield from _verdicts(one)
        yield "A split is judged by its first metric; others are named where a floor is as good by them or better."
        for split in table.splits:
            division = describe_protocol(split, run.recipe.evaluation)
            yield f"Test protocol, {protocol_label(split)}{f': {division}' if division else ''}."
        of_splits = table.metrics[~table.metrics["split"].map(is_few)]
        if of_splits.groupby(["task", "model", "split"])["seed"].nunique().max() == 1:
            yield "One seed was run, so that the standard deviation over seeds is not known."
    if city is not None:
        for kind, name, count, _ in _coverage(city):
            if count < city.n_regions:
                yield f"{city.n_regions - count:,} of {city.n_regions:,} regions have no {name} ({kind})."
    for note in run.manifest.get("notes") or []:
        yield f"{_line(note).rstrip('.')}."
    yield "These are embeddings of the regions in this folder; other regions or other times need another run."


def _verdicts(table: Table) -> Iterator[Markdown]:
    """For each split, by its first metric, which floors a method does not beat, and by which others it does not."""
    for group, (first, *others) in table.groups.items():
        split = table.columns[first].split
        for method in table.rows:
            metric = table.columns[first].metric
            sentences = [
                f"{escape(table.corner)}, {escape(group)}: {label(split, metric)} "
                + _verdict(method, table.floors, first, metric)
            ]
            for index in others:
                metric = table.columns[index].metric
                if lost := _not_beaten(method, table.floors, index, metric):
                    sentences.append(f"By {label(split, metric)}, {method.cells[index]}, it {lost}.")
            yield Markdown(" ".join(sentences))


def _verdict(method: Row, floors: Sequence[Row], index: int, metric: str) -> str:
    if not np.isfinite(method.cells[index].mean):
        return "is not defined on every seed."
    scored = _best_first(floors, index, metric)
    if not scored:
        return f"{method.cells[index]}; there is no floor to compare it with."
    lost = _not_beaten(method, floors, index, metric)
    won = f"is better than every floor (best: {_floor(scored[0], index)})"
    return f"{method.cells[index]} {lost or won}."


def _not_beaten(method: Row, floors: Sequence[Row], index: int, metric: str) -> str:
    """Which floors are as good as the method or better; empty where none is."""
    sign, mean = _sign(metric), method.cells[index].mean
    ahead = [row for row in _best_first(floors, index, metric) if sign * (mean - row.cells[index].mean) <= 0]
    return "**does not beat** " + ", ".join(_floor(row, index) for row in ahead) if ahead else ""


def _best_first(floors: Sequence[Row], index: int, metric: str) -> list[Row]:
    scored = [row for row in floors if np.isfinite(row.cells[index].mean)]
    return sorted(scored, key=lambda row: -_sign(metric) * row.cells[index].mean)


def _sign(metric: str) -> int:
    return 1 if higher_is_better(metric) else -1


def _floor(row: Row, index: int) -> str:
    return f"{escape(row.name.removeprefix(FLOOR))} ({row.cells[index]})"
