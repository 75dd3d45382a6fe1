"""The model card of a run: `README.md` in the form of Hugging Face's, with data, metrics, floors and limits."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from urbankit.city.city import City
from urbankit.evaluation.metrics import HIGHER_IS_BETTER, METRICS
from urbankit.evaluation.splits import protocol_label
from urbankit.runs.folder import Run
from urbankit.tables.results import FLOOR, ResultsTable, Row, Section, label
from urbankit.utils.errors import UserError
from urbankit.utils.files import write_text

LOADING = """\
```python
from urbankit import Run, UrbanEmbedding

run = Run.open(".")  # the folder that this file is in
print(run.embeddings.head())  # a GeoDataFrame: region_id, geometry, embedding
vectors = UrbanEmbedding(run).fit_transform(run.embeddings[["region_id"]])  # [regions, dimensions]
```

Without urbankit: `geopandas.read_parquet("embeddings.parquet")`. For other tools: `urbankit export . --to gpkg`."""

PROTOCOLS = {
    "random": "regions in training, validation and test parts ({shares} %), so that a test region mostly has training "
    "regions beside it",
    "spatial": "blocks of a {blocks} × {blocks} grid over the city, each wholly in one part ({shares} %); what to "
    "expect of a part of the city without labels",
    "folds": "a fixed probe on the frozen embedding, each fold predicted from the others; every region is tested, and "
    "there is no validation part",
    "all": "no label of this city was seen; what predicts was fitted to another city's",
}


def write_card(run: Run, city: City | None = None) -> Path:
    """Write the card into the run's folder; see `model_card`."""
    path = run.path / "README.md"
    write_text(path, model_card(run, city))
    return path


def model_card(run: Run, city: City | None = None) -> str:
    """The card of a run: YAML front matter and Markdown. What a run or its city lacks is left out and said.

    Every text that comes from data, recipe or manifest is escaped for Markdown.
    """
    table = run.table() if run.has("metrics.parquet") and len(run.metrics) else None
    name, city_name = run.recipe.name, _city_name(run, city)
    sections = [
        ("Data", _data(run, city)),
        ("Training", _training(run)),
        ("Results", _results(table)),
        ("Limits", _bullets(_limits(run, city, table))),
        ("Loading", LOADING),
        (
            "Licence",
            "The front matter says `other`: urbankit does not know under which terms the sources of this city and the "
            "pretrained weights may be used. Put the licence that they allow there before you publish this folder.",
        ),
    ]
    body = "\n\n".join(f"## {title}\n\n{text}" for title, text in sections)
    head = f"# {escape(name)} on {escape(city_name)}\n\n{_what(run)}"
    return f"---\n{_front_matter(run, city_name, table)}---\n\n{head}\n\n{body}\n"


def escape(value: object) -> str:
    """A text from data as Markdown shows it, on one line: no markup, no HTML, no end of a table's cell."""
    text = " ".join(str(value).split()).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_\[\]{}|~#$])", r"\\\1", text)


# Front matter


def _front_matter(run: Run, city_name: str, table: ResultsTable | None) -> str:
    method = run.recipe.method.name
    facts: dict[str, Any] = {
        "license": "other",
        "library_name": "urbankit",
        "tags": list(dict.fromkeys(["region-embeddings", "urban-computing", "geospatial", _slug(method)])),
        "datasets": [_slug(city_name)],
    }
    results = [] if table is None else [r for section in table.sections for r in _index(section, city_name)]
    if results:
        facts["model-index"] = [{"name": _line(run.recipe.name), "results": results}]
    return yaml.safe_dump(facts, sort_keys=False, allow_unicode=True, width=1000)


def _index(section: Section, city_name: str) -> Iterator[dict[str, Any]]:
    """The method's metrics of one task, a result a split."""
    classified = any(metric in (*METRICS["classification"], "nmi", "ari") for _, metric in section.columns)
    kind = "tabular-classification" if classified else "tabular-regression"
    for row in (row for row in section.rows if not row.is_floor):
        for split in dict(section.columns):
            metrics = [
                {"type": metric, "value": float(cell.mean), "name": f"{label(split, metric)}, {_seeds(cell.seeds)}"}
                for (of, metric), cell in zip(section.columns, row.cells, strict=True)
                if of == split and np.isfinite(cell.mean)
            ]
            if metrics:
                dataset = {"type": _slug(city_name), "name": _line(city_name), "config": split, "split": "test"}
                yield {"task": {"type": kind, "name": section.task}, "dataset": dataset, "metrics": metrics}


def _seeds(count: int) -> str:
    return "one seed" if count == 1 else f"mean of {count} seeds"


def _slug(text: str) -> str:
    """A name as the Hub's identifiers are written."""
    return re.sub(r"[^A-Za-z0-9._]+", "-", text).strip("-.") or "city"


def _line(text: str) -> str:
    return " ".join(text.split())


# Sections


def _what(run: Run) -> str:
    manifest, recipe = run.manifest, run.recipe
    size = "Region embeddings"
    if run.has("embeddings.parquet"):
        regions, dim = run.vectors.shape
        size = f"Embeddings of {regions:,} regions, {dim:,} numbers each"
    version = (manifest.get("versions") or {}).get("urbankit")
    made = f"urbankit {escape(version)}" if version else "urbankit"
    started = f", {escape(manifest['started'])[:10]}" if manifest.get("started") else ""
    said = f"{escape(recipe.description)}\n\n" if recipe.description else ""
    by = f"the method `{_code(recipe.method.name)}` ({made}{started})"
    return f"{said}{size}, by {by}, and what was predicted from them."


def _data(run: Run, city: City | None) -> str:
    if city is None:
        regions = run.manifest.get("regions")
        known = f", {regions:,} regions" if isinstance(regions, int) else ""
        return f"The city `{_code(_city_name(run, city))}`{known}. The prepared city was not there to say more."
    lines = [
        f"The city `{_code(city.name)}`: {city.n_regions:,} regions, {float(city.area_km2.sum()):,.1f} km², {city.crs}."
    ]
    rows = [(kind, name, f"{count:,}", f"{share:.1%}") for kind, name, count, share in _coverage(city)]
    if rows:
        lines += ["", *_table(("kind", "name", "regions", "share"), rows)]
    return "\n".join(lines)


def _training(run: Run) -> str:
    recipe, manifest = run.recipe, run.manifest
    components = {
        "Modalities": {name: use.name for name, use in recipe.modalities.items()},
        "Views": {name: use.name for name, use in recipe.views.items()},
        "Heads": {name: task.head.name for name, task in recipe.tasks.items()},
    }
    items = [f"Recipe: `recipe.yaml` in this folder, seed {recipe.seed}; `manifest.json` has versions and hashes."]
    for title, used in components.items():
        listed = ", ".join(f"{escape(name)} (`{_code(component)}`)" for name, component in used.items())
        items.append(f"{title}: {listed or 'none'}.")
    pretraining = (manifest.get("training") or {}).get("pretrain")
    if isinstance(pretraining, dict) and "epochs" in pretraining:
        items.append(f"Pre-training: {pretraining['epochs']} epochs.")
    elif recipe.transfer is None and not recipe.pretrain.epochs:
        items.append("Pre-training: none; the weights are as they were drawn.")
    for modality, facts in (manifest.get("pretrained") or {}).items():
        said = ", ".join(f"{escape(k)} {escape(v)}" for k, v in facts.items() if k != "name" and v)
        items.append(f"Pretrained, {escape(modality)}: {escape(facts.get('name'))}" + (f" ({said})." if said else "."))
    if recipe.transfer is not None:
        items.append(f"Weights taken over from the run `{_code(str(recipe.transfer.source))}`.")
    return _bullets(items)


def _results(table: ResultsTable | None) -> str:
    if table is None:
        return "None: the run has no task, or did not come to its end."
    lines = ["Mean ± sample standard deviation over seeds, errors in the target's units; the best of a column in bold."]
    for section in table.sections:
        heads = [escape(section.task), *(f"{protocol_label(s)}, {label(s, metric)}" for s, metric in section.columns)]
        rows = [
            [escape(row.label), *(f"**{cell}**" if cell.best else str(cell) for cell in row.cells)]
            for row in section.rows
        ]
        lines += ["", *_table(heads, rows)]
    return "\n".join(lines)


def _limits(run: Run, city: City | None, table: ResultsTable | None) -> Iterator[str]:
    if table is not None:
        for section in table.sections:
            yield from _verdicts(section)
        yield "A split is judged by its first metric; others are named where a floor is as good by them or better."
        asked = run.recipe.evaluation
        shares = "/".join(f"{100 * share:g}" for share in asked.fractions)
        for split in table.splits:
            yield f"Test protocol, {escape(protocol_label(split))}" + (
                f": {PROTOCOLS[split].format(shares=shares, blocks=asked.blocks)}." if split in PROTOCOLS else "."
            )
        seeds = table.metrics.groupby(["task", "model", "split"])["seed"].nunique().max()
        if seeds == 1:
            yield "One seed was run, so that nothing is known of the spread."
    if city is not None:
        for kind, name, count, _ in _coverage(city):
            if count < city.n_regions:
                lost = city.n_regions - count
                yield f"{lost:,} of {city.n_regions:,} regions have no {escape(name)} ({kind})."
    for note in run.manifest.get("notes") or []:
        yield f"{escape(note).rstrip('.')}."
    yield "These are embeddings of the regions in this folder; other regions, or other times, need a run of their own."


def _verdicts(section: Section) -> Iterator[str]:
    """For each split, by its first metric, which floors a method does not beat, and by which others it does not."""
    places: dict[str, list[int]] = {}
    for place, (split, _) in enumerate(section.columns):
        places.setdefault(split, []).append(place)
    floors = [row for row in section.rows if row.is_floor]
    for split, (first, *others) in places.items():
        for method in (row for row in section.rows if not row.is_floor):
            metric = section.columns[first][1]
            where = f"{escape(section.task)}, {protocol_label(split)}: {label(split, metric)}"
            said = [f"{where} {_verdict(method, floors, first, metric)}"]
            for place in others:
                metric = section.columns[place][1]
                if lost := _not_beaten(method, floors, place, metric):
                    said.append(f"By {label(split, metric)}, {method.cells[place]}, it {lost}.")
            yield " ".join(said)


def _verdict(method: Row, floors: Sequence[Row], place: int, metric: str) -> str:
    if not np.isfinite(method.cells[place].mean):
        return "is not defined on every seed."
    scored = _best_first(floors, place, metric)
    if not scored:
        return f"{method.cells[place]}; there is no floor to compare it with."
    lost = _not_beaten(method, floors, place, metric)
    won = f"is better than every floor (best: {_floor(scored[0], place)})"
    return f"{method.cells[place]} {lost or won}."


def _not_beaten(method: Row, floors: Sequence[Row], place: int, metric: str) -> str:
    """Which floors are as good as the method or better; empty where none is."""
    sign, own = _sign(metric), method.cells[place].mean
    ahead = [row for row in _best_first(floors, place, metric) if sign * (own - row.cells[place].mean) <= 0]
    return "**does not beat** " + ", ".join(_floor(row, place) for row in ahead) if ahead else ""


def _best_first(floors: Sequence[Row], place: int, metric: str) -> list[Row]:
    scored = [row for row in floors if np.isfinite(row.cells[place].mean)]
    return sorted(scored, key=lambda row: -_sign(metric) * row.cells[place].mean)


def _sign(metric: str) -> int:
    return 1 if metric in HIGHER_IS_BETTER else -1


def _floor(row: Row, place: int) -> str:
    return f"{escape(row.model.removeprefix(FLOOR))} ({row.cells[place]})"


# Parts


def _coverage(city: City) -> list[tuple[str, str, int, float]]:
    try:
        return [(str(k), str(n), int(count), float(share)) for k, n, count, share in city.report.coverage()]
    except UserError:
        return []


def _city_name(run: Run, city: City | None) -> str:
    return city.name if city is not None else str(run.manifest.get("city") or "a city")


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(heads)} |"
    yield "|---" * len(heads) + "|"
    yield from (f"| {' | '.join(row)} |" for row in rows)


def _bullets(items: Iterable[str]) -> str:
    return "\n".join(f"- {item}" for item in items)


def _code(text: str) -> str:
    """A name between backticks, which know no escapes."""
    return _line(text).replace("`", "'")
