"""The sections of a run's page that need no script: what was run, results, figures, the city, recipe and manifest."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Sequence
from typing import Any

from markupsafe import Markup

from urbankit.city.city import City
from urbankit.city.report import PrepareReport
from urbankit.evaluation.splits import how_to_read, protocol_label
from urbankit.evaluation.tasks import TaskData
from urbankit.recipe.schema import Evaluation
from urbankit.report.figures import Figures
from urbankit.report.page.recipe import StoredRecipe
from urbankit.report.page.render import render
from urbankit.runs import view_measures
from urbankit.runs.folder import Run
from urbankit.runs.member_weights import member_lines
from urbankit.runs.prior import prior_line


def run_section(city: City | None, recipe: StoredRecipe, manifest: dict[str, Any]) -> str:
    """Return the section on the run: its recipe, city, versions and notes."""
    return render("run", facts=_facts(city, recipe, manifest), notes=manifest.get("notes"))


def _facts(city: City | None, recipe: StoredRecipe, manifest: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    seconds = {stage: value for stage, value in (manifest.get("seconds") or {}).items() if value >= 0.5}
    splits, seeds = recipe.get("evaluation.splits") or [], recipe.get("evaluation.seeds") or []
    if recipe.get("description"):
        yield "recipe", recipe.get("description")
    yield "city", _city_line(city, manifest)
    yield "method", recipe.get("method.name", "unknown")
    yield (
        "embedding",
        f"{manifest['embedding_width']} numbers per region" if "embedding_width" in manifest else "unknown",
    )
    yield "modalities", recipe.components("modalities")
    yield "views", recipe.components("views")
    yield "fine-tuning", recipe.get("finetune.paradigm", "unknown")
    if manifest.get("prior"):
        yield "prior", prior_line(manifest["prior"])
    yield "evaluation", ", ".join(protocol_label(str(split)) for split in splits) or "none"
    yield "seeds of splits", ", ".join(map(str, seeds)) or "none"
    yield "seed", recipe.get("seed", "unknown")
    yield "device", manifest.get("device", "unknown")
    yield "urbankit", (manifest.get("versions") or {}).get("urbankit", "unknown")
    yield "started", manifest.get("started", "unknown")
    stages = ", ".join(f"{stage} {value:.0f}" for stage, value in seconds.items())
    yield "time", f"{sum(seconds.values()):.0f} s ({stages})" if stages else "unknown"


def _city_line(city: City | None, manifest: dict[str, Any]) -> str:
    if city is not None:
        if not city.has_geometry:
            return f"{city.name}: {city.n_regions:,} regions, without geometry"
        return f"{city.name}: {city.n_regions:,} regions, {float(city.area_km2.sum()):,.1f} km², {city.crs}"
    regions = manifest.get("regions")
    return str(manifest.get("city", "unknown")) + (f": {regions:,} regions" if isinstance(regions, int) else "")


def results_section(run: Run, recipe: StoredRecipe, tasks: Sequence[TaskData] = ()) -> str:
    """Return the section with the results table and how to read it."""
    if not run.has("metrics.parquet"):
        return render("results", table=None, text="The run has written no metrics.")
    if run.metrics.empty:
        text = "The recipe has no tasks, so there is nothing to score; the embeddings are the result."
        return render("results", table=None, text=text)
    weights = run.member_weights.to_dict("records") if run.has("member_weights.parquet") else []
    table, text = Markup(run.table().html({task.name: task.label for task in tasks})), " ".join(_explained(recipe))
    return render("results", table=table, text=text, members=list(member_lines(weights)))


def _explained(recipe: StoredRecipe) -> Iterator[str]:
    yield "Mean ± standard deviation over seeds; the best of a column in bold."
    yield (
        "The rows without representation learning, the floors, predict from the mean of the labels, the nearest "
        "regions, or the inputs themselves. An embedding is of use if it beats the best of them. The method before "
        "pre-training has its initial weights: what the method has above it is due to pre-training."
    )
    try:
        settings = dict(recipe.get("evaluation") or {})
        splits = settings.pop("splits", [])  # those of plugins may not be installed any more
        evaluation = Evaluation.model_validate(settings)
    except (TypeError, ValueError):  # a recipe of another version of urbankit
        return
    yield from filter(None, (how_to_read(str(split), evaluation) for split in splits))


def views_section(run: Run) -> str:
    """What was measured of views' blocks, held-out losses and held-out retrieval; empty if nothing was."""
    if not run.has(view_measures.FILE):
        return ""
    table = run.view_measures
    orders = [
        (o.view, *map(view_measures.two_digits, (o.spearman, o.spearman_all)), f"{o.related:.1%}")
        for o in view_measures.read_orders(table)
    ]
    losses = [
        (loss.name, f"{loss.held_out:.3g}", f"{loss.reference:.3g}", "yes" if loss.learned else "no")
        for loss in view_measures.read_losses(table)
    ]
    recalls = view_measures.read_recalls(table)
    verdicts = [(best.block, best.verdict, str(best)) for best in view_measures.best_recalls(recalls)]
    retrievals = [
        (
            recall.name,
            f"{recall.recall_regions:,.0f}",
            f"{recall.recall_k:.0f}",
            *map(view_measures.two_digits, (recall.recall, recall.recall_before, recall.recall_chance)),
        )
        for recall in recalls
    ]
    return render("views", orders=orders, losses=losses, verdicts=verdicts, retrievals=retrievals)


def figures_section(figures: Figures, most_bytes: int) -> tuple[str, list[str]]:
    """The section, and a sentence for each figure that is gone, or beyond the `most_bytes` that all may take."""
    embedded, left_out, size = [], [], 0
    for drawing in figures.drawn:
        if not drawing.png.is_file():
            left_out.append(f"{drawing.png.name} is not there any more.")
            continue
        png = base64.b64encode(drawing.png.read_bytes()).decode("ascii")
        if size + len(png) > most_bytes:
            left_out.append(f"{drawing.png.name} is left out to keep the page small; it is in the run's folder.")
            continue
        size += len(png)
        embedded.append({"caption": drawing.caption, "png": png})
    return render("figures", figures=embedded, left_out=[*figures.left_out, *left_out]), left_out


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
    suspicious = [f"{key}: {note}" for key, note in report.suspicious]
    return render("city", sources=sources, coverage=coverage, suspicious=suspicious)


def files_section(recipe: StoredRecipe, manifest: dict[str, Any]) -> str:
    """Return the section with the resolved recipe and the manifest, both collapsed."""
    return render("files", recipe=recipe.text, manifest=json.dumps(manifest, indent=2, ensure_ascii=False))
