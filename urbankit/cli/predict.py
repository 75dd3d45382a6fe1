"""The command `urbankit predict`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def predict(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.")],
    task: Annotated[list[str] | None, typer.Option(metavar="TASK", help="The task; default all. Repeatable.")] = None,
    interval: Annotated[
        float | None,
        typer.Option(metavar="SHARE", help="Share of regions that an interval should cover; default the recipe's."),
    ] = None,
    split: Annotated[
        str | None,
        typer.Option(
            metavar="SPLIT",
            help="What calibrates intervals: random for gaps between labelled regions, spatial for districts without"
            " labels; default the recipe's.",
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the table: .parquet, .gpkg or .csv.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace FILE if it exists.")] = False,
) -> None:
    """Predict the targets of a run for every region, labelled or not, with intervals or class probabilities.

    A labelled region gets the prediction of heads that did not see its label. Other regions get that of heads fitted to
    all labels.

    [bold]urbankit predict runs/ny --task pm25 --interval 0.8 --out pm25.gpkg[/bold]
    """
    from urbankit.cli.output import console, figure, print_table, warn
    from urbankit.evaluation.metrics import metric_label
    from urbankit.pipeline.predict_run import predict_run, write_predictions
    from urbankit.runs.folder import Run
    from urbankit.utils.progress import Progress

    opened = Run.open(run)
    with Progress() as progress:
        predictions = predict_run(opened, tasks=task, interval=interval, split=split, progress=progress)
    rows = []
    for name, fit in predictions.fits.items():
        labelled = int(fit.labelled.sum())
        scores, metric = fit.scores(), fit.task.metric
        width = "–"
        if not fit.task.classes:
            table = predictions.table
            width = figure(float((table[f"{name}_upper"] - table[f"{name}_lower"]).mean()))
        unit = f" ({fit.task.unit})" if fit.task.unit else ""
        without = len(predictions.table) - labelled
        rows.append([name + unit, str(labelled), str(without), f"{metric_label(metric)} {scores[metric]:.3f}", width])
    title = f"{opened.path}: {predictions.level:.0%} intervals, calibrated on {predictions.split} folds"
    print_table(title, ["task", "labelled", "without label", "out-of-fold score", "mean width"], rows)
    warn(predictions.notes)
    if out is not None:
        write_predictions(predictions, opened, out, force=force)
        console().print(str(out), markup=False, soft_wrap=True)
