"""The report of a run: one HTML file that needs nothing beside it."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from urbankit.evaluation.splits import protocol_label
from urbankit.files import write_text
from urbankit.report.figures import Figures

if TYPE_CHECKING:
    from urbankit.city.city import City
    from urbankit.city.report import PrepareReport
    from urbankit.runfolder import Run

_CSS = """
body { font: 15px/1.5 system-ui, sans-serif; color: #1a1a1a; max-width: 70rem; margin: 2rem auto; padding: 0 1rem; }
h1 { margin-bottom: 0; } h2 { margin-top: 2.5rem; border-bottom: 1px solid #ccc; }
table { border-collapse: collapse; margin: .8rem 0; font-variant-numeric: tabular-nums; }
table { display: block; overflow-x: auto; }
th, td { padding: .2rem .7rem; text-align: right; white-space: nowrap; } th:first-child, td.text { text-align: left; }
td.text { white-space: normal; } thead th { border-bottom: 1px solid #555; text-align: center; }
tbody th { font-weight: normal; } tr.task > * { font-weight: 600; padding-top: 1rem; font-style: italic; }
tr.rule > * { border-top: 1px solid #999; } td.best { font-weight: 700; }
figure { margin: 1.5rem 0; } figure img { max-width: 100%; height: auto; } figcaption { color: #444; font-size: 90%; }
pre { background: #f5f5f5; padding: .8rem; overflow-x: auto; font-size: 85%; } .muted { color: #555; }
"""


def write_report(run: Run, city: City) -> Path:
    """Write `report.html`: results, the figures drawn before (embedded), the city's prepare report, recipe, manifest.

    Every text that comes from data, recipe or manifest is escaped.
    """
    title = f"{run.recipe.name} on {city.name}"
    sections = [
        ("Run", _run(run, city)),
        ("Results", _results(run)),
        ("Figures", _figures(Figures.load(run.path / "figures"))),
        ("City", _city(city.report)),
        ("Recipe", f"<pre>{escape(run.recipe.to_yaml())}</pre>"),
        ("Manifest", f"<pre>{escape(json.dumps(run.manifest, indent=2, ensure_ascii=False))}</pre>"),
    ]
    body = "".join(f"<h2>{name}</h2>{content}" for name, content in sections)
    path = run.path / "report.html"
    write_text(
        path,
        "<!doctype html><html lang='en'><head><meta charset='utf-8'>"
        "<meta name='viewport' content='width=device-width, initial-scale=1'>"
        f"<title>{escape(title)}</title><style>{_CSS}</style></head>"
        f"<body><h1>{escape(title)}</h1><p class='muted'>{escape(run.recipe.description)}</p>{body}</body></html>\n",
    )
    return path


def _run(run: Run, city: City) -> str:
    recipe, manifest = run.recipe, run.manifest
    seconds = manifest.get("seconds", {})
    stages = ", ".join(f"{stage} {value:.0f}" for stage, value in seconds.items())
    versions = manifest.get("versions", {})
    facts = [
        ("city", f"{city.name}: {city.n_regions:,} regions, {float(city.area_km2.sum()):,.1f} km², {city.crs}"),
        ("method", recipe.method.name),
        ("modalities", _listed(recipe.modalities)),
        ("views", _listed(recipe.views)),
        ("fine-tuning", recipe.finetune.paradigm),
        ("evaluation", ", ".join(protocol_label(split) for split in recipe.evaluation.splits)),
        ("seeds of splits", _numbers(recipe.evaluation.seeds)),
        ("seed", recipe.seed),
        ("device", manifest.get("device", "unknown")),
        ("urbankit", versions.get("urbankit", "unknown")),
        ("started", manifest.get("started", "unknown")),
        ("time", f"{sum(seconds.values()):.0f} s ({stages})"),
    ]
    notes = manifest.get("notes", [])
    return _pairs(facts) + (f"<p>To note:</p>{_list(notes)}" if notes else "")


def _results(run: Run) -> str:
    if not run.has("metrics.parquet") or run.metrics.empty:
        return "<p>The recipe has no tasks, so there is nothing to score; the embeddings are the result.</p>"
    judged = run.recipe.evaluation
    explained = [
        "Mean ± standard deviation over seeds; the best of a column in bold. A floor learns no representation.",
        *(_PROTOCOLS[protocol] for protocol in judged.splits if protocol in _PROTOCOLS),
    ]
    if "folds" in judged.splits:
        folds = judged.folds
        explained.append(
            f"Folds: ridge regression (α = {folds.alpha:g}) on the frozen embedding, {folds.number} folds in the order "
            "of the regions, no fine-tuning; pooled R² is of the predictions of all folds together, fold-mean R² the "
            "mean of each fold's own. Classes are clustered by k-means, over whose seeds the deviation is."
        )
    return f"<p class='muted'>{' '.join(explained)}</p>{run.table().html()}"


_PROTOCOLS = {
    "random": "The random split lets a model interpolate between neighbours.",
    "spatial": "In the spatial split whole blocks of the city are unseen, and it is the one that counts.",
}


def _figures(figures: Figures) -> str:
    drawn = (
        f"<figure><img alt='{escape(drawing.caption)}' src='data:image/png;base64,"
        f"{base64.b64encode(drawing.png.read_bytes()).decode()}'><figcaption>{escape(drawing.caption)}</figcaption>"
        "</figure>"
        for drawing in figures.drawn
    )
    return "".join(drawn) + _list(figures.left_out)


def _city(report: PrepareReport) -> str:
    sources = [
        (
            source.key,
            f"{source.rows:,}",
            f"{source.matched:,}",
            "; ".join(f"{count:,} {why}" for why, count in source.dropped.items()),
        )
        for source in report.sources
    ]
    coverage = [(kind, name, f"{count:,}", f"{share:.1%}") for kind, name, count, share in report.coverage()]
    notes = [f"{key}: {note}" for key, note in report.suspicious]
    return (
        "<h3>Sources</h3>"
        + _table(("source", "rows", "matched", "dropped"), sources, text={3})
        + "<h3>Coverage</h3>"
        + _table(("kind", "name", "regions", "share"), coverage, text={1})
        + "<h3>Worth a look</h3>"
        + (_list(notes) if notes else "<p>Nothing suspicious was found.</p>")
    )


def _table(heads: Sequence[str], rows: Iterable[Sequence[Any]], text: set[int]) -> str:
    """A table whose columns are numbers, but for the first and those in `text`."""
    head = "".join(f"<th>{escape(name)}</th>" for name in heads)
    body = "".join(
        "<tr>"
        + "".join(
            f"<th>{escape(str(cell))}</th>"
            if place == 0
            else f"<td{' class=text' if place in text else ''}>{escape(str(cell))}</td>"
            for place, cell in enumerate(row)
        )
        + "</tr>"
        for row in rows
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _pairs(facts: Iterable[tuple[str, Any]]) -> str:
    rows = "".join(f"<tr><th>{escape(key)}</th><td class=text>{escape(str(value))}</td></tr>" for key, value in facts)
    return f"<table><tbody>{rows}</tbody></table>"


def _list(lines: Iterable[str]) -> str:
    items = "".join(f"<li>{escape(line)}</li>" for line in lines)
    return f"<ul>{items}</ul>" if items else ""


def _listed(uses: Any) -> str:
    return ", ".join(f"{name} ({use.name})" for name, use in uses.items()) or "none"


def _numbers(values: Iterable[int]) -> str:
    return ", ".join(str(value) for value in values)
