"""The parts of a page that need no script: what was run, the results, figures, the city, recipe and manifest."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from html import escape
from typing import Any

from urbankit.city.city import City
from urbankit.city.report import PrepareReport
from urbankit.evaluation.splits import protocol_label
from urbankit.report.figures import Figures
from urbankit.report.page.markup import bullets, code, details, pairs, paragraph, section, table, wide
from urbankit.report.page.recipe import UncheckedRecipe
from urbankit.runs.folder import Run


def head(title: str, description: str, links: list[tuple[str, str]]) -> str:
    """Title, description and links to the sections `(id, name)`."""
    items = "".join(f'<a href="#{key}">{escape(name)}</a>' for key, name in links)
    lead = paragraph(description, "lead") if description else ""
    return f'<header><h1>{escape(title)}</h1>{lead}<nav aria-label="Sections">{items}</nav></header>'


def notice(missing: list[str]) -> str:
    """What is missing from the page, at its top; nothing where nothing is."""
    if not missing:
        return ""
    return f'<aside class="notice" aria-label="What is missing"><h2>What is missing</h2>{bullets(missing)}</aside>'


def run_section(city: City | None, recipe: UncheckedRecipe, manifest: dict[str, Any]) -> str:
    """What was run, on what, by which versions, and what the run noted."""
    notes = [str(note) for note in manifest.get("notes") or []]
    noted = f"<h3>Notes of the run</h3>{bullets(notes)}" if notes else ""
    return section("about", "What was run", pairs(_facts(city, recipe, manifest)) + noted)


def _facts(city: City | None, recipe: UncheckedRecipe, manifest: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    seconds = {stage: value for stage, value in (manifest.get("seconds") or {}).items() if value >= 0.5}
    yield "city", _city_line(city, manifest)
    yield "method", recipe.get("method.name", "unknown")
    yield "embedding", f"{manifest['embedding_width']} numbers a region" if "embedding_width" in manifest else "unknown"
    yield "modalities", recipe.listed("modalities")
    yield "views", recipe.listed("views")
    yield "fine-tuning", recipe.get("finetune.paradigm", "unknown")
    yield (
        "evaluation",
        ", ".join(protocol_label(str(split)) for split in recipe.get("evaluation.splits") or []) or "none",
    )
    yield "seeds of splits", ", ".join(map(str, recipe.get("evaluation.seeds") or [])) or "none"
    yield "seed", recipe.get("seed", "unknown")
    yield "device", manifest.get("device", "unknown")
    yield "urbankit", (manifest.get("versions") or {}).get("urbankit", "unknown")
    yield "started", manifest.get("started", "unknown")
    stages = ", ".join(f"{stage} {value:.0f}" for stage, value in seconds.items())
    yield "time", f"{sum(seconds.values()):.0f} s ({stages})" if stages else "unknown"


def _city_line(city: City | None, manifest: dict[str, Any]) -> str:
    if city is not None:
        return f"{city.name}: {city.n_regions:,} regions, {float(city.area_km2.sum()):,.1f} km², {city.crs}"
    regions = manifest.get("regions")
    return str(manifest.get("city", "unknown")) + (f": {regions:,} regions" if isinstance(regions, int) else "")


def results_section(run: Run, recipe: UncheckedRecipe) -> str:
    """The results table with its floors, and how to read it."""
    if not run.has("metrics.parquet"):
        return section("results", "Results", paragraph("The run has written no metrics."))
    if run.metrics.empty:
        text = "The recipe has no tasks, so there is nothing to score; the embeddings are the result."
        return section("results", "Results", paragraph(text))
    explained = paragraph(" ".join(_explained(recipe)), "quiet")
    return section("results", "Results", explained + wide(run.table().html(), "Results"))


def _explained(recipe: UncheckedRecipe) -> Iterator[str]:
    splits = recipe.get("evaluation.splits") or []
    yield "Mean ± standard deviation over seeds; the best of a column in bold. A floor learns no representation."
    if "random" in splits:
        yield "The random split lets a model interpolate between neighbours."
    if "spatial" in splits:
        yield "In the spatial split whole blocks of the city are unseen, and it is the one that counts."
    if "folds" in splits:
        alpha, number = recipe.get("evaluation.folds.alpha", 1), recipe.get("evaluation.folds.number", 5)
        yield (
            f"Folds: ridge regression (α = {alpha:g}) on the frozen embedding, {number} folds in the order "
            "of the regions, no fine-tuning; pooled R² is of the predictions of all folds together, fold-mean R² the "
            "mean of each fold's own. Classes are clustered by k-means, over whose seeds the deviation is."
        )


def figures_section(figures: Figures, most_bytes: int) -> tuple[str, list[str]]:
    """The section, and a sentence for each figure that is gone, or beyond the `most_bytes` that all may take."""
    parts, left, size = [], [], 0
    for drawing in figures.drawn:
        if not drawing.png.is_file():
            left.append(f"{drawing.png.name} is not there any more.")
            continue
        text = base64.b64encode(drawing.png.read_bytes()).decode("ascii")
        if size + len(text) > most_bytes:
            left.append(f"{drawing.png.name} is left out to keep the page small; it is in the run's folder.")
            continue
        size += len(text)
        caption = escape(drawing.caption)
        parts.append(
            f'<figure><img alt="{caption}" loading="lazy" decoding="async" src="data:image/png;base64,{text}">'
            f"<figcaption>{caption}</figcaption></figure>"
        )
    body = "".join(parts) + bullets([*figures.left_out, *left])
    return section("figures", "Figures", body or paragraph("No figures were drawn.")), left


def city_section(report: PrepareReport) -> str:
    """What `prepare` read, matched and dropped, what is covered, and what looks suspicious."""
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
    return section(
        "city",
        "The city's data",
        "<h3>Sources</h3>"
        + table(("source", "rows", "matched", "dropped"), sources, text=(3,))
        + "<h3>Coverage</h3>"
        + table(("kind", "name", "regions", "share"), coverage, text=(1,))
        + "<h3>Worth a look</h3>"
        + (bullets(notes) if notes else paragraph("Nothing suspicious was found.")),
    )


def files_section(recipe: UncheckedRecipe, manifest: dict[str, Any]) -> str:
    """The whole recipe and manifest, folded up."""
    written = json.dumps(manifest, indent=2, ensure_ascii=False)
    return section(
        "files",
        "Recipe and manifest",
        details("recipe.yaml, resolved: it runs again as it is", code(recipe.text))
        + details("manifest.json: versions, seeds, hashes, times", code(written)),
    )
