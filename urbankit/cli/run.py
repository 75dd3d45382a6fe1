"""The command `urbankit run`."""

from __future__ import annotations

import os
import signal
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from urbankit.recipe import Recipe

RecipeName = Annotated[
    str, typer.Argument(metavar="RECIPE", help="A recipe file, or the name of a shipped recipe: urbanmmcl.")
]
Changes = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="A.B=C", help="Change one value of the recipe. Repeatable."),
]


def run(
    recipe: RecipeName,
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="Folder to write; default runs/NAME.")] = None,
    sets: Changes = None,
    resume: Annotated[bool, typer.Option("--resume", help="Resume the interrupted run in --out.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the resolved recipe and the planned stages, and stop.")
    ] = False,
) -> None:
    """Run a recipe: prepare the city, pre-train, embed, fine-tune, score and report.

    An interrupted run can be resumed with --resume. torchrun pre-trains in several processes:

    [bold]torchrun --nproc-per-node 2 -m urbankit run urbanmmcl[/bold]

    [bold]urbankit run urbanmmcl[/bold]

    [bold]urbankit run recipes/new-york.yaml --out runs/ny --set city.data=DATA --set evaluation.seeds=[0,1][/bold]
    """
    from urbankit.utils.launcher import launched_in_several

    if launched_in_several():
        _run_in_several(recipe, out, sets, resume, dry_run)
    else:
        _run(recipe, out, sets, resume, dry_run)


def _run_in_several(recipe: str, out: Path | None, sets: list[str] | None, resume: bool, dry_run: bool) -> None:
    """Run the recipe in the first process, which the others help to pre-train; only one of them shows an error."""
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # torch prints advice from every process
    from urbankit.pipeline.together import dismiss, take_part
    from urbankit.utils import processes

    with ExitStack() as stack:
        try:
            stack.enter_context(processes.joined())
            if processes.is_first():
                _run(recipe, out, sets, resume, dry_run)
                dismiss()
            else:
                take_part()
        except BaseException:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)  # the launcher ends all processes as soon as one has failed
            if processes.reports_failure():
                raise
            raise typer.Exit(1) from None


def _run(recipe: str, out: Path | None, sets: list[str] | None, resume: bool, dry_run: bool) -> None:
    from urbankit.recipe import Recipe

    loaded = Recipe.load(recipe, sets or [])
    folder = out or Path("runs", loaded.name)
    if dry_run:
        _plan(loaded, folder)
        return
    from urbankit.cli.output import console
    from urbankit.pipeline.run import run as run_recipe
    from urbankit.utils.progress import Progress

    finished = run_recipe(loaded, out=folder, resume=resume, progress=Progress())
    if finished.has("metrics.parquet"):
        console().print(finished.table())
    console().print(f"The run is in {folder}; start with {folder / 'report.html'}", markup=False, soft_wrap=True)


def print_matches(recipe: Recipe) -> None:
    """Print how many rows of each source of the city belong to a region, and what the recipe will lack."""
    from urbankit.cli.output import print_table, warn
    from urbankit.pipeline.match import match_city

    sources, notes = match_city(recipe)
    warn(notes)
    if sources:
        print_table(
            "sources",
            ("source", "rows", "of a region", "left out"),
            [
                (report.key, f"{report.rows:,}", f"{report.matched:,}",
                 "; ".join(f"{count:,} {reason}" for reason, count in report.dropped.items()))
                for report in sources
            ],
        )  # fmt: skip


def _plan(recipe: Recipe, folder: Path) -> None:
    """Print the resolved recipe, its components with their distributions, and the planned stages."""
    from urbankit import registry
    from urbankit.cli.output import console, print_table
    from urbankit.recipe.components import components

    console().print(recipe.to_yaml(), markup=False)
    origins = {(entry.kind, entry.name): entry.origin for entry in registry.entries()}
    print_table(
        "components",
        ("key", "kind", "name", "from"),
        [(used.key, used.kind, used.use.name, origins[used.kind, used.use.name]) for used in components(recipe)],
    )
    print_table("stages", ("", ""), _steps(recipe, folder))
    print_matches(recipe)


def _steps(recipe: Recipe, folder: Path) -> list[tuple[str, str]]:
    from urbankit.evaluation.splits import is_few, is_sampled, probes
    from urbankit.recipe.components import trackers

    city, pretrain, evaluation = recipe.city, recipe.pretrain, recipe.evaluation
    if city is None:
        cities = recipe.cities
        source = f"{len(cities)} cities" if isinstance(cities, list) else f"the cities in {cities and cities.folder}"
    elif city.demo:
        source = f"the synthetic city of {city.demo.regions} regions, seed {city.demo.seed}"
    else:
        source = f"prepared, in {city.prepared}" if city.prepared else f"prepared from {city.spec}"
    zero_shot = recipe.transfer is not None and recipe.transfer.graph == "keep"
    splits = [split for split in evaluation.splits if is_sampled(split)]
    few, sizes = list(filter(is_few, evaluation.splits)), ", ".join(map(str, evaluation.few.labels))
    summaries = [probe.summary(evaluation) for probe in probes(evaluation.splits)]
    tasks = [f"{name} ({task.head.name})" for name, task in recipe.tasks.items()]
    return [
        ("city", source),
        ("modalities", ", ".join(recipe.modalities) or "none"),
        ("views", ", ".join(recipe.views) or "none"),
        (
            "transfer",
            f"{'all weights' if zero_shot else 'encoders'} of {recipe.transfer.source}" if recipe.transfer else "none",
        ),
        ("prior", f"the predictions of {recipe.prior}" if recipe.prior else "none"),
        (
            "pre-training",
            "none: all weights are loaded"
            if zero_shot
            else f"{recipe.method.name}, at most {pretrain.epochs} epochs, batches of {pretrain.batch_size}",
        ),
        ("tasks", ", ".join(tasks) or "none: embeddings only"),
        (
            "fine-tuning",
            f"{recipe.finetune.paradigm}, {len(splits)} splits ({', '.join(splits)}) × {len(evaluation.seeds)} seeds"
            f" = {len(splits) * len(evaluation.seeds)} trainings, at most {recipe.finetune.epochs} epochs each"
            if tasks and splits
            else "none",
        ),
        ("probe", "; ".join(summaries) or "none"),
        ("few labels", f"{', '.join(few)}: {sizes} labels, {evaluation.few.draws} draws each" if few else "none"),
        ("floors", ", ".join(evaluation.floors) or "none"),
        ("controls", ", ".join(evaluation.controls) or "none"),
        ("tracking", ", ".join(use.name for use in trackers(recipe)) or "none"),
        ("output", f"{folder}{' (exists)' if folder.exists() else ''}"),
    ]
